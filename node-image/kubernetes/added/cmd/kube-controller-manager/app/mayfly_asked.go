// Package app is a part of Kubernetes' package of that name: the build of the node
// image puts this file beside validatingadmissionpolicystatus.go, which is made to
// use it (src/node-image/kubernetes-changes.ts).
//
// The controller manager keeps the schemas of all types, 7 MiB, to check the types
// of expressions in admission policies. Here it makes them for the first policy.
package app

import (
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/cel/openapi/resolver"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// lateSchemas are schemas that are made when one is first asked for.
type lateSchemas struct {
	made func() *resolver.DefinitionsSchemaResolver
	// others has what is not among them.
	others resolver.SchemaResolver
}

func schemasWhenAsked(make func() *resolver.DefinitionsSchemaResolver) lateSchemas {
	return lateSchemas{made: sync.OnceValue(make)}
}

// Combine is called as that of schemas which are there already.
func (s lateSchemas) Combine(others resolver.SchemaResolver) resolver.SchemaResolver {
	return lateSchemas{s.made, others}
}

func (s lateSchemas) ResolveSchema(kind schema.GroupVersionKind) (*spec.Schema, error) {
	return s.made().Combine(s.others).ResolveSchema(kind)
}
