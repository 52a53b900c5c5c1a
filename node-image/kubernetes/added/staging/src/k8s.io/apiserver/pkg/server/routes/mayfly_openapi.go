// Package routes is a part of the API server's package of that name: the build of
// the node image puts this file beside openapi.go, which is made to use it
// (src/node-image/kubernetes-changes.ts).
//
// Before it serves, the API server describes all of its types in OpenAPI's
// version 2, for which few clients ask any more. Here it does so for the first
// who asks.
package routes

import (
	"slices"
	"strings"

	restful "github.com/emicklei/go-restful/v3"

	"k8s.io/apiserver/pkg/server/mux"
	builder2 "k8s.io/kube-openapi/pkg/builder"
	"k8s.io/kube-openapi/pkg/cached"
	"k8s.io/kube-openapi/pkg/common/restfuladapter"
	"k8s.io/kube-openapi/pkg/handler"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// installOnDemand gives nil for the server of custom resources, which goes on
// from its own description.
func (oa OpenAPI) installOnDemand(c *restful.Container, mux *mux.PathRecorderMux) *handler.OpenAPIService {
	services := c.RegisteredWebServices()
	if slices.ContainsFunc(services, servesCustomResources) {
		return nil
	}
	described := cached.Once(cached.Func(func() (*spec.Swagger, string, error) {
		described, err := builder2.BuildOpenAPISpecFromRoutes(restfuladapter.AdaptWebServices(services), oa.Config)
		if err != nil {
			return nil, "", err
		}
		described.Definitions = handler.PruneDefaults(described.Definitions)
		return described, "never changes", nil
	}))
	service := handler.NewOpenAPIServiceLazy(described)
	service.RegisterOpenAPIVersionedService("/openapi/v2", mux)
	return service
}

func servesCustomResources(service *restful.WebService) bool {
	return strings.HasPrefix(service.RootPath(), "/apis/apiextensions.k8s.io")
}
