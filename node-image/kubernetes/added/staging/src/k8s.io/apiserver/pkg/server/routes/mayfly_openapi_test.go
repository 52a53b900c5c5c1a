package routes

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	restful "github.com/emicklei/go-restful/v3"
	"k8s.io/apiserver/pkg/server/mux"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

type thing struct{}

const thingDefinition = "k8s.io/apiserver/pkg/server/routes.thing"

// serversOfOneProcess are two servers of twenty group versions each, which share
// their configuration as those of an API server do.
func serversOfOneProcess() (servers []http.Handler, shared *common.OpenAPIV3Config) {
	extended := spec.Schema{}
	// The builder takes it out of what it describes.
	extended.AddExtension(common.ExtensionV2Schema, spec.Schema{})
	shared = &common.OpenAPIV3Config{
		Info: &spec.Info{},
		GetDefinitions: func(common.ReferenceCallback) map[string]common.OpenAPIDefinition {
			own := extended
			own.Extensions = maps.Clone(extended.Extensions)
			return map[string]common.OpenAPIDefinition{thingDefinition: {Schema: own}}
		},
		GetDefinitionName:     func(name string) (string, spec.Extensions) { return name, nil },
		GetOperationIDAndTags: func(route *restful.Route) (string, []string, error) { return route.Operation, nil, nil },
	}
	shared.Definitions = shared.GetDefinitions(nil)
	// As of the installation of the resources.
	shared.GetOperationIDAndTagsFromRoute = func(common.Route) (string, []string, error) { panic("it keeps the definitions") }
	for server := range 2 {
		container := restful.NewContainer()
		for version := range 20 {
			service := new(restful.WebService).Path(fmt.Sprintf("/apis/group-%d/v%d", server, version))
			service.Produces(restful.MIME_JSON).Consumes(restful.MIME_JSON)
			get := service.GET("/things").To(func(*restful.Request, *restful.Response) {})
			container.Add(service.Route(get.Operation("list").Returns(http.StatusOK, "OK", thing{})))
		}
		paths := mux.NewPathRecorderMux("test")
		OpenAPI{V3Config: shared}.InstallV3(container, paths)
		servers = append(servers, paths)
	}
	return servers, shared
}

// Run with -race it finds more.
func TestServersThatAreAskedAtOnceShareNothingTheyWriteTo(t *testing.T) {
	servers, shared := serversOfOneProcess()
	var asked sync.WaitGroup
	for at, server := range servers {
		for _, path := range []string{"/openapi/v3", fmt.Sprintf("/openapi/v3/apis/group-%d/v7", at)} {
			asked.Go(func() {
				answer := httptest.NewRecorder()
				server.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, path, nil))
				if body := answer.Body.String(); answer.Code != http.StatusOK || !strings.Contains(body, fmt.Sprintf("apis/group-%d/v7", at)) {
					t.Errorf("%s: %d %s", path, answer.Code, body)
				}
			})
		}
	}
	asked.Wait()
	if shared.Definitions != nil || shared.GetOperationIDAndTagsFromRoute != nil {
		t.Error("the definitions that all shared are still there")
	}
}
