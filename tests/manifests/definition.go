// The FileUpload as crds/ defines it, as far as paths into it go.
package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// The schema of a field and what is in it.
type definition struct {
	Properties map[string]definition
	Enum       []string
}

func readDefinition(file string) (definition, error) {
	var crd struct {
		Spec struct {
			Versions []struct {
				Schema struct{ OpenAPIV3Schema definition }
			}
		}
	}
	text, err := os.ReadFile(file)
	if err == nil {
		err = yaml.Unmarshal(text, &crd)
	}
	if err == nil && len(crd.Spec.Versions) != 1 {
		err = fmt.Errorf("%s: one version was expected", file)
	}
	if err != nil {
		return definition{}, err
	}
	return crd.Spec.Versions[0].Schema.OpenAPIV3Schema, nil
}

// The field at a path such as `.status.phase`.
func (schema definition) field(path string) (definition, error) {
	for _, name := range strings.Split(path, ".")[1:] {
		next, known := schema.Properties[name]
		if !known {
			return definition{}, fmt.Errorf("a FileUpload has no %s", path)
		}
		schema = next
	}
	return schema, nil
}

func (schema definition) allows(value string) bool {
	return len(schema.Enum) == 0 || slices.Contains(schema.Enum, value)
}
