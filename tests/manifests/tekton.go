// Tekton: its types and their validation, and what it would only find at run time: whether a Pipeline uses a Task as that is.
package main

import (
	"context"
	"regexp"
	"slices"

	v1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	"knative.dev/pkg/apis"
)

// What every kind of Tekton has.
type kind interface {
	SetDefaults(context.Context)
	Validate(context.Context) *apis.FieldError
}

// Returns how many tasks of Pipelines use a Task of the examples.
func checkTekton(documents []document, found *problems) int {
	tasks, pipelines := map[string]*v1.Task{}, map[string]*v1.Pipeline{}
	runs, files, uses := []*v1.PipelineRun{}, map[any]string{}, 0
	for _, doc := range documents {
		object := judge(doc, found)
		files[object] = doc.file
		switch object := object.(type) {
		case *v1.Task:
			tasks[object.Name] = object
		case *v1.Pipeline:
			pipelines[object.Name] = object
		case *v1.PipelineRun:
			runs = append(runs, object)
		}
	}
	for _, pipeline := range pipelines {
		uses += checkPipeline(files[pipeline], pipeline, tasks, found)
	}
	for _, run := range runs {
		if pipeline, known := pipelines[run.Spec.PipelineRef.Name]; !known {
			found.add(files[run], "no example is the Pipeline %s", run.Spec.PipelineRef.Name)
		} else if len(run.Spec.Workspaces) != len(pipeline.Spec.Workspaces) {
			found.add(files[run], "the Pipeline %s has other workspaces", pipeline.Name)
		}
	}
	return uses
}

// The object of a document, if it can be one.
func judge(doc document, found *problems) kind {
	var object kind
	switch doc.kind {
	case "tekton.dev/v1 Task":
		object = &v1.Task{}
	case "tekton.dev/v1 Pipeline":
		object = &v1.Pipeline{}
	case "tekton.dev/v1 PipelineRun":
		object = &v1.PipelineRun{}
	default:
		found.add(doc.file, "%s: nothing here judges this kind", doc.kind)
		return nil
	}
	if !decode(doc, object, found) {
		return nil
	}
	if run, is := object.(*v1.PipelineRun); is && run.Name == "" {
		run.Name = run.GenerateName + "00000" // the API server does so before Tekton is asked
	}
	object.SetDefaults(context.Background())
	if err := object.Validate(context.Background()); err != nil {
		found.add(doc.file, "%v", err)
	}
	return object
}

func checkPipeline(file string, pipeline *v1.Pipeline, tasks map[string]*v1.Task, found *problems) int {
	uses := 0
	for _, use := range pipeline.Spec.Tasks {
		if use.TaskRef == nil {
			continue
		}
		task, known := tasks[use.TaskRef.Name]
		if !known {
			found.add(file, "no example is the Task %s", use.TaskRef.Name)
			continue
		}
		uses++
		for _, param := range use.Params {
			same := func(declared v1.ParamSpec) bool {
				return declared.Name == param.Name && declared.Type == param.Value.Type
			}
			if !slices.ContainsFunc(task.Spec.Params, same) {
				found.add(file, "Task %s has no param %s of this type", task.Name, param.Name)
			}
		}
		for _, declared := range task.Spec.Params {
			given := func(param v1.Param) bool { return param.Name == declared.Name }
			if declared.Default == nil && !slices.ContainsFunc(use.Params, given) {
				found.add(file, "Task %s needs the param %s", task.Name, declared.Name)
			}
		}
		if len(use.Workspaces) != len(task.Spec.Workspaces) {
			found.add(file, "Task %s has other workspaces", task.Name)
		}
		checkResults(file, pipeline, use.Name, task, found)
	}
	return uses
}

var result = regexp.MustCompile(`\$\(tasks\.([^.]+)\.results(?:\.([^)]+)|\['([^']+)'\])\)`)

// Every result that a Pipeline takes from a task is one that the Task declares.
func checkResults(file string, pipeline *v1.Pipeline, task string, declared *v1.Task, found *problems) {
	text := []string{}
	for _, use := range pipeline.Spec.Tasks {
		for _, param := range use.Params {
			text = append(text, param.Value.StringVal)
		}
	}
	for _, output := range pipeline.Spec.Results {
		text = append(text, output.Value.StringVal)
	}
	for _, value := range text {
		for _, match := range result.FindAllStringSubmatch(value, -1) {
			name := match[2] + match[3]
			known := func(result v1.TaskResult) bool { return result.Name == name }
			if match[1] == task && !slices.ContainsFunc(declared.Spec.Results, known) {
				found.add(file, "Task %s has no result %s", declared.Name, name)
			}
		}
	}
}
