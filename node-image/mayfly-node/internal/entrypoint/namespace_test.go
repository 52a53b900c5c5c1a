package entrypoint

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"mayfly.io/node-image/mayfly-node/internal/etcdstate"
)

func stored(t *testing.T, namespace *corev1.Namespace) []byte {
	t.Helper()
	raw, err := namespace.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	envelope := runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: "v1", Kind: "Namespace"}, Raw: raw}
	wrapped, err := envelope.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte("k8s\x00"), wrapped...)
}

func read(t *testing.T, value []byte) corev1.Namespace {
	t.Helper()
	var envelope runtime.Unknown
	var namespace corev1.Namespace
	if err := envelope.Unmarshal(value[4:]); err != nil {
		t.Fatal(err)
	}
	if err := namespace.Unmarshal(envelope.Raw); err != nil {
		t.Fatal(err)
	}
	return namespace
}

func TestNamespacesGetUIDsOfTheCluster(t *testing.T) {
	before := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kube-system", UID: "old", Labels: map[string]string{"a": "b"}}}
	entry := etcdstate.Entry{Key: "/registry/namespaces/kube-system", Value: stored(t, before)}
	uid := func(token string) string {
		fresh, err := withFreshUID(entry, token)
		if err != nil {
			t.Fatal(err)
		}
		namespace := read(t, fresh.Value)
		if namespace.Name != "kube-system" || namespace.Labels["a"] != "b" {
			t.Errorf("something else changed: %v", namespace.ObjectMeta)
		}
		return string(namespace.UID)
	}
	one, again, other := uid("one"), uid("one"), uid("other")
	if one != again {
		t.Errorf("control planes of one cluster disagree: %s, %s", one, again)
	}
	if one == other || one == "old" || len(one) != 36 {
		t.Errorf("not a UID of the cluster's own: %q, of another cluster: %q", one, other)
	}
}

func TestOtherObjectsStayAsTheyAre(t *testing.T) {
	entry := etcdstate.Entry{Key: "/registry/configmaps/default/x", Value: []byte("k8s\x00whatever")}
	same, err := withFreshUID(entry, "token")
	if err != nil || string(same.Value) != string(entry.Value) {
		t.Errorf("got %q, %v", same.Value, err)
	}
}
