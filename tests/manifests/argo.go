// Argo Workflows: its types, its linter, and what a `resource` template says of FileUploads.
package main

import (
	"fmt"
	"regexp"

	"github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/workflow/validate"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

// The WorkflowTemplates of the examples, as a cluster has them.
type templates map[string]*v1alpha1.WorkflowTemplate

func (known templates) Get(name string) (*v1alpha1.WorkflowTemplate, error) {
	if template, found := known[name]; found {
		return template, nil
	}
	return nil, fmt.Errorf("no example is the WorkflowTemplate %s", name)
}

type noClusterTemplates struct{}

func (noClusterTemplates) Get(name string) (*v1alpha1.ClusterWorkflowTemplate, error) {
	return nil, fmt.Errorf("no example is the ClusterWorkflowTemplate %s", name)
}

// Returns how many FileUploads the templates make.
func checkArgo(documents []document, definition definition, found *problems) int {
	known, workflows, resources := templates{}, map[*v1alpha1.Workflow]string{}, 0
	for _, doc := range documents {
		switch doc.kind {
		case "argoproj.io/v1alpha1 Workflow":
			workflow := &v1alpha1.Workflow{}
			if decode(doc, workflow, found) {
				workflows[workflow] = doc.file
				resources += checkResources(doc.file, workflow.Spec.Templates, definition, found)
			}
		case "argoproj.io/v1alpha1 WorkflowTemplate":
			template := &v1alpha1.WorkflowTemplate{}
			if decode(doc, template, found) {
				known[template.Name] = template
				resources += checkResources(doc.file, template.Spec.Templates, definition, found)
				if err := validate.ValidateWorkflowTemplate(known, noClusterTemplates{}, template, nil, validate.ValidateOpts{}); err != nil {
					found.add(doc.file, "%v", err)
				}
			}
		default:
			found.add(doc.file, "%s: nothing here judges this kind", doc.kind)
		}
	}
	for workflow, file := range workflows {
		if err := validate.ValidateWorkflow(known, noClusterTemplates{}, workflow, nil, validate.ValidateOpts{}); err != nil {
			found.add(file, "%v", err)
		}
	}
	return resources
}

var statusPath = regexp.MustCompile(`^\{((?:\.[A-Za-z]+)+)\}$`)

func checkResources(file string, templates []v1alpha1.Template, definition definition, found *problems) int {
	count := 0
	for _, template := range templates {
		if template.Resource == nil {
			continue
		}
		count++
		var head struct{ APIVersion, Kind string }
		if err := yaml.Unmarshal([]byte(template.Resource.Manifest), &head); err != nil || head.Kind != "FileUpload" {
			found.add(file, "template %s makes no FileUpload: %v", template.Name, err)
		}
		if template.Resource.SuccessCondition == "" || template.Resource.FailureCondition == "" {
			found.add(file, "template %s would not wait", template.Name)
		}
		for _, condition := range []string{template.Resource.SuccessCondition, template.Resource.FailureCondition} {
			checkCondition(file, condition, definition, found)
		}
		for _, parameter := range template.Outputs.Parameters {
			path := statusPath.FindStringSubmatch(parameter.ValueFrom.JSONPath)
			if path == nil {
				found.add(file, "output %s: %q is no path to one field", parameter.Name, parameter.ValueFrom.JSONPath)
			} else if _, err := definition.field(path[1]); err != nil {
				found.add(file, "output %s: %v", parameter.Name, err)
			}
		}
	}
	return count
}

// A condition is read as Argo's executor reads it: as a selector whose keys are paths.
func checkCondition(file, condition string, definition definition, found *problems) {
	selector, err := labels.Parse(condition)
	if err != nil {
		found.add(file, "condition %q: %v", condition, err)
		return
	}
	requirements, _ := selector.Requirements()
	for _, requirement := range requirements {
		field, err := definition.field("." + requirement.Key())
		if err != nil {
			found.add(file, "condition %q: %v", condition, err)
			continue
		}
		for value := range requirement.Values() {
			if !field.allows(value) {
				found.add(file, "condition %q: %s is never %q", condition, requirement.Key(), value)
			}
		}
	}
}
