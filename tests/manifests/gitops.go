// What installs the operator by GitOps: Flux judges by its types, Argo CD by the definition of its Application, whose Go
// types need modules that others here cannot have.
package main

import (
	"os"

	helm "github.com/fluxcd/helm-controller/api/v2"
	source "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensions_v1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"sigs.k8s.io/yaml"
)

func checkFlux(documents []document, found *problems) {
	for _, doc := range documents {
		switch doc.kind {
		case "helm.toolkit.fluxcd.io/v2 HelmRelease":
			decode(doc, &helm.HelmRelease{}, found)
		case "source.toolkit.fluxcd.io/v1 OCIRepository":
			decode(doc, &source.OCIRepository{}, found)
		default:
			found.add(doc.file, "%s: nothing here judges this kind", doc.kind)
		}
	}
}

// Holds Applications against the definition in this file.
func checkArgoCD(documents []document, file string, found *problems) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	crd := &apiextensions_v1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(text, crd); err != nil {
		return err
	}
	fields := &apiextensions.JSONSchemaProps{}
	version := crd.Spec.Versions[0]
	if err := apiextensions_v1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(version.Schema.OpenAPIV3Schema, fields, nil); err != nil {
		return err
	}
	structure, err := schema.NewStructural(fields)
	if err != nil {
		return err
	}
	validator, _, err := validation.NewSchemaValidator(fields)
	if err != nil {
		return err
	}
	for _, doc := range documents {
		if want := crd.Spec.Group + "/" + version.Name + " " + crd.Spec.Names.Kind; doc.kind != want {
			found.add(doc.file, "%s: nothing here judges this kind", doc.kind)
			continue
		}
		var object map[string]any
		if err := yaml.UnmarshalStrict(doc.text, &object); err != nil {
			found.add(doc.file, "%v", err)
			continue
		}
		for _, wrong := range validation.ValidateCustomResource(nil, object, validator) {
			found.add(doc.file, "%v", wrong)
		}
		unknown := pruning.PruneWithOptions(object, structure, true, schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
		for _, path := range unknown {
			found.add(doc.file, "%s: no such field", path)
		}
	}
	return nil
}
