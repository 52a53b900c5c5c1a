package routes

import (
	"fmt"
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
// their definitions as those of an API server do.
func serversOfOneProcess() (servers []http.Handler, shared *common.OpenAPIV3Config) {
	extended := spec.Schema{}
	// The builder takes it out of what it describes.
	extended.AddExtension(common.ExtensionV2Schema, spec.Schema{})
	shared = &common.OpenAPIV3Config{
		Info:        &spec.Info{},
		Definitions: map[string]common.OpenAPIDefinition{thingDefinition: {Schema: extended}},
	}
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
	if kept := shared.Definitions[thingDefinition].Schema.Extensions; len(kept) != 1 {
		t.Errorf("the shared definition now has the extensions %v", kept)
	}
}
