// How GitOps tools see a FileUpload: Argo CD by the script of examples/, in the Lua that Argo CD runs, and Flux by kstatus.
//
// Both are asked about every status that a golden plan in tests/plan ends with, so about what the planner really says.
package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/yaml"
)

const healthEntry = "resource.customizations.health.cyberun.cloud_FileUpload"

// What a golden plan says of the status.
type planned struct {
	Status struct {
		Phase      string
		Conditions map[string]struct{ Status, Reason, Message string }
	}
}

// Returns how many different verdicts there were.
func checkHealth(tree string, found *problems) (int, error) {
	file := filepath.Join(tree, "examples/argo-cd/argocd-cm.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	var config struct{ Data map[string]string }
	if err := yaml.Unmarshal(text, &config); err != nil {
		return 0, err
	}
	plans, err := filepath.Glob(filepath.Join(tree, "tests/plan/*.plan"))
	if err != nil {
		return 0, err
	}
	verdicts := map[string]bool{}
	for _, plan := range plans {
		golden, err := readPlan(plan)
		if err != nil {
			return 0, err
		}
		if len(golden.Status.Conditions) == 0 {
			continue
		}
		health, kstatus := expected(golden)
		for generation, verdict := range map[int64][2]string{1: {health, kstatus}, 2: {"Progressing", "InProgress"}} {
			object := golden.object(generation)
			if said := ask(config.Data[healthEntry], object); said != verdict[0] {
				found.add(file, "of %s Argo CD would say %q, not %q", filepath.Base(plan), said, verdict[0])
			}
			result, err := status.Compute(&unstructured.Unstructured{Object: object})
			if err != nil || string(result.Status) != verdict[1] {
				found.add(plan, "kstatus says %v (%v), not %s", result, err, verdict[1])
			}
			verdicts[verdict[0]+" "+verdict[1]] = true
		}
	}
	return len(verdicts), nil
}

func readPlan(file string) (planned, error) {
	var golden planned
	text, err := os.ReadFile(file)
	if err == nil {
		err = yaml.Unmarshal([]byte(strings.TrimPrefix(string(text), "---\n")), &golden)
	}
	return golden, err
}

// What Argo CD and kstatus should say of a status that is up to date.
func expected(golden planned) (string, string) {
	switch {
	case golden.Status.Phase == "Suspended":
		return "Suspended", "Current"
	case golden.Status.Conditions["Stalled"].Status == "True":
		return "Degraded", "Failed"
	case golden.Status.Conditions["Ready"].Status == "True":
		return "Healthy", "Current"
	default:
		return "Progressing", "InProgress"
	}
}

// The object as the API server has it, with a status about generation 1.
func (golden planned) object(generation int64) map[string]any {
	conditions := []any{}
	for kind, condition := range golden.Status.Conditions {
		conditions = append(conditions, map[string]any{
			"type": kind, "status": condition.Status, "reason": condition.Reason, "message": condition.Message,
		})
	}
	return map[string]any{
		"apiVersion": "cyberun.cloud/v1alpha1", "kind": "FileUpload",
		"metadata": map[string]any{"name": "example", "generation": generation},
		"status": map[string]any{
			"observedGeneration": int64(1), "phase": golden.Status.Phase, "conditions": conditions,
		},
	}
}

// Runs a health script with the libraries that Argo CD gives it.
func ask(script string, object map[string]any) string {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		state.Push(state.NewFunction(open))
		state.Push(lua.LString(name))
		state.Call(1, 0)
	}
	plain := map[string]any{}
	text, err := json.Marshal(object)
	if err == nil {
		err = json.Unmarshal(text, &plain)
	}
	if err != nil {
		return err.Error()
	}
	state.SetGlobal("obj", toLua(state, plain))
	if err := state.DoString(script); err != nil {
		return err.Error()
	}
	verdict, is := state.Get(-1).(*lua.LTable)
	if !is {
		return "nothing"
	}
	return lua.LVAsString(verdict.RawGetString("status"))
}

func toLua(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case map[string]any:
		table := state.NewTable()
		for key, item := range value {
			table.RawSetString(key, toLua(state, item))
		}
		return table
	case []any:
		table := state.NewTable()
		for _, item := range value {
			table.Append(toLua(state, item))
		}
		return table
	case string:
		return lua.LString(value)
	case float64:
		return lua.LNumber(value)
	case bool:
		return lua.LBool(value)
	default:
		return lua.LNil
	}
}
