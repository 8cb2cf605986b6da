// GitHub Actions, by actionlint: syntax, expressions, and whether what a job takes from another is there.
package main

import (
	"io"
	"os"
	"path/filepath"

	"github.com/rhysd/actionlint"
)

// Returns how many workflows there are.
func checkActions(folder string, found *problems) (int, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil {
		return 0, err
	}
	// Without shellcheck and pyflakes: what they say would depend on the machine.
	linter, err := actionlint.NewLinter(io.Discard, &actionlint.LinterOptions{})
	if err != nil {
		return 0, err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return 0, err
		}
		// A path that is in no project, so that no configuration of this machine has a say.
		complaints, err := linter.Lint("<stdin>", text, nil)
		if err != nil {
			return 0, err
		}
		for _, complaint := range complaints {
			found.add(file, "line %d: %s", complaint.Line, complaint.Message)
		}
	}
	return len(files), nil
}
