// Strict decoding. The engines' types have hand-written parts that swallow what they do not know, so what was decoded is
// written again and must hold everything that was read.
package main

import (
	"encoding/json"
	"fmt"
	"reflect"

	strict "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

func decode(doc document, into any, found *problems) bool {
	before := len(*found)
	text, err := yaml.YAMLToJSONStrict(doc.text)
	if err != nil {
		found.add(doc.file, "%v", err)
		return false
	}
	// As the API server does: case counts.
	unknown, err := strict.UnmarshalStrict(text, into)
	if err != nil {
		unknown = append(unknown, err)
	}
	for _, err := range unknown {
		found.add(doc.file, "%v", err)
	}
	written, err := json.Marshal(into)
	if err != nil {
		found.add(doc.file, "%v", err)
		return false
	}
	var source, back any
	if err := json.Unmarshal(text, &source); err != nil {
		found.add(doc.file, "%v", err)
		return false
	}
	if err := json.Unmarshal(written, &back); err != nil {
		found.add(doc.file, "%v", err)
		return false
	}
	lost(source, back, "", func(path string) { found.add(doc.file, "%s: no such field, or it means something else", path) })
	return len(*found) == before
}

// Tells each path that is in the source and not in what was written back; nothing and empty are the same.
func lost(source, back any, path string, tell func(string)) {
	switch source := source.(type) {
	case map[string]any:
		back, _ := back.(map[string]any)
		for key, value := range source {
			if there, known := back[key]; known {
				lost(value, there, path+"."+key, tell)
			} else if !isEmpty(value) {
				tell(path + "." + key)
			}
		}
	case []any:
		back, _ := back.([]any)
		for index, value := range source {
			at := fmt.Sprintf("%s[%d]", path, index)
			if index < len(back) {
				lost(value, back[index], at, tell)
			} else {
				tell(at)
			}
		}
	default:
		if !isEmpty(source) && !reflect.DeepEqual(source, back) {
			tell(path)
		}
	}
}

func isEmpty(value any) bool {
	if value == nil {
		return true
	}
	switch reflected := reflect.ValueOf(value); reflected.Kind() {
	case reflect.Map, reflect.Slice:
		return reflected.Len() == 0
	default:
		return reflected.IsZero()
	}
}
