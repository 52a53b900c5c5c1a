// Package routes is a part of the API server's package of that name: the build of
// the node image puts this file beside openapi.go, which is made to use it
// (src/node-image/kubernetes-changes.ts).
//
// Before it serves, the API server describes all of its types in OpenAPI's
// versions 2 and 3. Few clients ask for the one, and in most clusters for tests
// nobody for the other. Here it does so for the first who asks.
package routes

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	restful "github.com/emicklei/go-restful/v3"

	"k8s.io/apiserver/pkg/server/mux"
	builder2 "k8s.io/kube-openapi/pkg/builder"
	"k8s.io/kube-openapi/pkg/cached"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/common/restfuladapter"
	"k8s.io/kube-openapi/pkg/handler"
	"k8s.io/kube-openapi/pkg/handler3"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// unchanging is the tag of a description of built-in types.
const unchanging = "never changes"

// installOnDemand gives nil for the server of custom resources, which goes on
// from its own description.
func (oa OpenAPI) installOnDemand(c *restful.Container, mux *mux.PathRecorderMux) *handler.OpenAPIService {
	services := c.RegisteredWebServices()
	if slices.ContainsFunc(services, servesCustomResources) {
		return nil
	}
	described := cached.Once(cached.Func(func() (*spec.Swagger, string, error) {
		described, err := builder2.BuildOpenAPISpecFromRoutes(restfuladapter.AdaptWebServices(services), forOne(oa.Config))
		if err != nil {
			return nil, "", err
		}
		described.Definitions = handler.PruneDefaults(described.Definitions)
		return described, unchanging, nil
	}))
	service := handler.NewOpenAPIServiceLazy(described)
	service.RegisterOpenAPIVersionedService("/openapi/v2", mux)
	return service
}

func servesCustomResources(service *restful.WebService) bool {
	return strings.HasPrefix(service.RootPath(), "/apis/apiextensions.k8s.io")
}

// described takes descriptions of group versions in the place of the service that serves them.
type described map[string]*spec3.OpenAPI

// UpdateGroupVersion is called as the service's is.
func (d described) UpdateGroupVersion(groupVersion string, spec *spec3.OpenAPI) {
	d[groupVersion] = spec
}

// describeOnDemand has the group versions described, all of them and one after
// the other, when one is asked for: whoever asks mostly begins with the list of
// all, which wants all of them at the same time.
func (oa OpenAPI) describeOnDemand(
	service *handler3.OpenAPIService,
	grouped map[string][]*restful.WebService,
	describe func(oa OpenAPI, into described),
) {
	forgetDefinitions(oa.V3Config)
	describeAll := sync.OnceValue(func() described {
		into := described{}
		describe(OpenAPI{V3Config: withOwnDefinitions(oa.V3Config)}, into)
		return into
	})
	for groupVersion := range grouped {
		service.UpdateGroupVersionLazy(groupVersion, cached.Func(func() (*spec3.OpenAPI, string, error) {
			if one := describeAll()[groupVersion]; one != nil {
				return one, unchanging, nil
			}
			return nil, "", fmt.Errorf("no OpenAPI v3 for group %s", groupVersion)
		}))
	}
}

// withOwnDefinitions gives a description what it writes to: the builder writes to
// the extensions of each definition of a type that it meets. The servers of one process
// share a configuration.
func withOwnDefinitions(shared *common.OpenAPIV3Config) *common.OpenAPIV3Config {
	own := *shared
	own.Definitions = own.GetDefinitions(func(name string) spec.Ref {
		definition, _ := own.GetDefinitionName(name)
		return spec.MustCreateRef("#/components/schemas/" + common.EscapeJsonPointer(definition))
	})
	return &own
}

// forgetDefinitions is for when all resources are installed: what needs the
// definitions of all types from then on makes its own. The function keeps them as
// well, and the builder makes it anew.
func forgetDefinitions(shared *common.OpenAPIV3Config) {
	shared.Definitions = nil
	if shared.GetOperationIDAndTags != nil {
		shared.GetOperationIDAndTagsFromRoute = nil
	}
}

// forOne is a configuration for one description. The builder would have another
// keep the definitions of all types, by a function that it adds.
func forOne(config *common.Config) *common.Config {
	own := *config
	return &own
}
