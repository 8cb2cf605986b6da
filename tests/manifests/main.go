// Checks the manifests of examples/, and the project's own workflows, for engines that do not run here, by those engines' own
// code: `manifests TREE APPLICATION`, where the latter is the file that defines Argo CD's Application.
//
// Each document is decoded strictly into the engine's types and judged by the engine's own validation; a field that
// those types do not know is a failure. What ties a manifest to this project, paths into the status of a FileUpload,
// is held against the definition in crds/. It needs no cluster and no network.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

// A document of a manifest, and where it stands.
type document struct {
	file string
	text []byte
	kind string
}

// Where and what is wrong.
type problems []string

func (found *problems) add(file, format string, values ...any) {
	*found = append(*found, file+": "+fmt.Sprintf(format, values...))
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: manifests TREE APPLICATION")
		os.Exit(2)
	}
	found, checked, err := check(os.Args[1], os.Args[2])
	for _, problem := range found {
		fmt.Println(problem)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
	}
	if err != nil || len(found) > 0 {
		os.Exit(1)
	}
	fmt.Println(checked)
}

// Judges everything there is; without any of a sort nothing would be judged, so that is a failure.
func check(tree, application string) (problems, string, error) {
	var found problems
	examples := filepath.Join(tree, "examples")
	definition, err := readDefinition(filepath.Join(tree, "crds/fileuploads.cyberun.cloud.yaml"))
	if err != nil {
		return nil, "", err
	}
	argo, err := documents(filepath.Join(examples, "argo-workflows"))
	if err != nil {
		return nil, "", err
	}
	tekton, err := documents(filepath.Join(examples, "tekton"))
	if err != nil {
		return nil, "", err
	}
	flux, err := documents(filepath.Join(examples, "flux"))
	if err != nil {
		return nil, "", err
	}
	checkFlux(flux, &found)
	applications, err := documents(filepath.Join(examples, "argo-cd"))
	if err != nil {
		return nil, "", err
	}
	if err := checkArgoCD(applications, application, &found); err != nil {
		return nil, "", err
	}
	resources := checkArgo(argo, definition, &found)
	tasks := checkTekton(tekton, &found)
	workflows, err := checkActions(filepath.Join(examples, "github-actions"), &found)
	if err != nil {
		return nil, "", err
	}
	// The project's own, which CI runs.
	own, err := checkActions(filepath.Join(tree, ".github/workflows"), &found)
	if err != nil {
		return nil, "", err
	}
	verdicts, err := checkHealth(tree, &found)
	if err != nil {
		return nil, "", err
	}
	text, err := summary(len(argo), resources, len(tekton), tasks, workflows, own, verdicts, len(flux), len(applications))
	return found, text, err
}

// What was judged; an error if there was nothing of a sort.
func summary(counts ...int) (string, error) {
	text := fmt.Sprintf("%d documents of Argo with %d FileUploads, %d of Tekton with %d uses of the Task, %d of GitHub Actions, %d of this project, %d verdicts on health, %d of Flux, %d of Argo CD",
		counts[0], counts[1], counts[2], counts[3], counts[4], counts[5], counts[6], counts[7], counts[8])
	for _, count := range counts {
		if count == 0 {
			return "", fmt.Errorf("something is missing from the examples: %s", text)
		}
	}
	return text, nil
}

// The documents of every manifest in a folder; those of no engine are left to the API server's own tests.
func documents(folder string) ([]document, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil {
		return nil, err
	}
	var all []document
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for _, part := range strings.Split("\n"+string(text), "\n---\n") {
			var head struct{ APIVersion, Kind string }
			if err := yaml.Unmarshal([]byte(part), &head); err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			group, _, _ := strings.Cut(head.APIVersion, "/")
			if group == "argoproj.io" || group == "tekton.dev" || strings.HasSuffix(group, ".fluxcd.io") {
				all = append(all, document{file, []byte(part), head.APIVersion + " " + head.Kind})
			}
		}
	}
	return all, nil
}
