package main

import (
	"context"

	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"
	"google.golang.org/grpc"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const listenerID = "container-events"

// While nobody listens to its events about containers, containerd's CRI plugin keeps
// each for five minutes, with the status of the whole pod: 14 MiB of them when one suite
// after the other starts pods. The kubelet only listens with its feature EventedPLEG.
// So there is a plugin that listens and keeps nothing; others who listen get every
// event as well.
func init() {
	registry.Register(&plugin.Registration{
		// A type of its own: what CRI itself needs must not come after it.
		Type:     "io.mayfly.listener.v1",
		ID:       listenerID,
		Requires: []plugin.Type{plugins.GRPCPlugin},
		InitFn:   listenToEvents,
	})
}

func listenToEvents(ic *plugin.InitContext) (any, error) {
	service, err := ic.GetByID(plugins.GRPCPlugin, "cri")
	if err != nil {
		return nil, plugin.ErrSkipPlugin
	}
	runtime, ok := service.(cri.RuntimeServiceServer)
	if !ok {
		return nil, plugin.ErrSkipPlugin
	}
	go func() { _ = runtime.GetContainerEvents(&cri.GetEventsRequest{}, listener{ctx: ic.Context}) }()
	return listener{}, nil
}

// listener takes every event.
type listener struct {
	grpc.ServerStream
	ctx context.Context
}

func (listener) Send(*cri.ContainerEventResponse) error { return nil }

func (l listener) Context() context.Context { return l.ctx }
