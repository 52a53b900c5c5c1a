package network

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A node's status is written often; routes must not be looked at each time.
func TestMirrorTellsOnlyOfWhatMatters(t *testing.T) {
	nodes := newMirror(toNode)
	changed := func() bool {
		select {
		case <-nodes.changed:
			return true
		default:
			return false
		}
	}
	one := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "one"}, Spec: corev1.NodeSpec{PodCIDR: "10.244.0.0/24"}}
	two := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "two"}}
	select {
	case <-nodes.synced:
		t.Error("synced before anything was listed")
	default:
	}
	_ = nodes.Replace([]any{one}, "1")
	<-nodes.synced
	if !changed() || len(nodes.list()) != 1 {
		t.Errorf("after the list: %v", nodes.list())
	}
	heartbeat := one.DeepCopy()
	heartbeat.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, LastHeartbeatTime: metav1.Now()}}
	if _ = nodes.Update(heartbeat); changed() {
		t.Error("a heartbeat is a change")
	}
	moved := one.DeepCopy()
	moved.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "172.18.0.9"}}
	if _ = nodes.Update(moved); !changed() {
		t.Error("a new address is no change")
	}
	if _ = nodes.Add(two); !changed() || len(nodes.list()) != 2 {
		t.Error("a new node is no change")
	}
	if _ = nodes.Delete(two); !changed() || len(nodes.list()) != 1 {
		t.Error("a node less is no change")
	}
	_ = nodes.Replace(nil, "2")
	if !changed() || len(nodes.list()) != 0 {
		t.Error("what a new list lacks is still there")
	}
}

func TestHealthzWaitsUntilReady(t *testing.T) {
	ready := make(chan struct{})
	server := httptest.NewServer(healthz(ready))
	defer server.Close()

	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	early, _ := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, nil)
	if _, err := http.DefaultClient.Do(early); err == nil {
		t.Error("answered before it was ready")
	}
	answered := make(chan error, 1)
	go func() {
		response, err := http.Get(server.URL)
		if err == nil {
			response.Body.Close()
		}
		answered <- err
	}()
	close(ready)
	if err := <-answered; err != nil {
		t.Error(err)
	}
}
