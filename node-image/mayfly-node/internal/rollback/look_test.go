package rollback

import (
	"maps"
	"net/url"
	"slices"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// startEtcd starts an etcd of its own for a test.
func startEtcd(t *testing.T) store {
	t.Helper()
	config := embed.NewConfig()
	config.Dir, config.LogLevel, config.UnsafeNoFsync = t.TempDir(), "error", true
	anyPort := []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	config.ListenClientUrls, config.AdvertiseClientUrls = anyPort, anyPort
	config.ListenPeerUrls, config.AdvertisePeerUrls = anyPort, anyPort
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	etcd, err := embed.StartEtcd(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(etcd.Close)
	select {
	case <-etcd.Server.ReadyNotify():
	case <-time.After(20 * time.Second):
		t.Fatal("etcd is not ready after 20 s")
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{etcd.Clients[0].Addr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return store{client}
}

func (s store) set(t *testing.T, keys map[string][]byte) {
	t.Helper()
	for key, value := range keys {
		if _, err := s.client.Put(t.Context(), key, string(value)); err != nil {
			t.Fatal(err)
		}
	}
}

func (s store) get(t *testing.T) map[string][]byte {
	t.Helper()
	response, err := s.client.Get(t.Context(), root, clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string][]byte{}
	for _, kv := range response.Kvs {
		keys[string(kv.Key)] = kv.Value
	}
	return keys
}

// save takes the state, through a file as a snapshot does.
func (s store) save(t *testing.T) *target {
	t.Helper()
	dir := t.TempDir()
	state, _, err := s.take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := writeState(dir, state); err != nil {
		t.Fatal(err)
	}
	target, err := readTarget(dir)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

func configMap(t *testing.T, name, uid, value string) []byte {
	return storedAs(t, "ConfigMap", &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(uid)}, Data: map[string]string{"k": value},
	})
}

func TestWritesTheDifferenceAndNothingElse(t *testing.T) {
	etcd := startEtcd(t)
	same, changed, deleted, replaced := configMap(t, "a", uid, "1"), configMap(t, "b", uid, "1"), configMap(t, "c", uid, "1"), configMap(t, "d", uid, "1")
	saved := map[string][]byte{
		"/registry/configmaps/default/same": same, "/registry/configmaps/default/changed": changed,
		"/registry/configmaps/default/deleted": deleted, "/registry/configmaps/default/replaced": replaced,
		"/registry/leases/kube-node-lease/n": []byte("1"), "/registry/leases/default/operator": []byte("1"),
	}
	etcd.set(t, saved)
	target := etcd.save(t)
	etcd.set(t, map[string][]byte{
		"/registry/configmaps/default/changed": configMap(t, "b", uid, "2"), "/registry/configmaps/default/new": []byte("x"),
		"/registry/configmaps/default/replaced": configMap(t, "d", freshUID, "1"), "/registry/events/default/e": []byte("e"),
		"/registry/leases/kube-node-lease/n": []byte("2"), "/registry/leases/default/operator": []byte("2"),
		"/registry/leases/default/new": []byte("x"), "/registry/masterleases/1": []byte("x"),
	})
	if _, err := etcd.client.Delete(t.Context(), "/registry/configmaps/default/deleted"); err != nil {
		t.Fatal(err)
	}
	d, err := target.writeOnce(t.Context(), etcd)
	if err != nil {
		t.Fatal(err)
	}
	// What is there of another UID goes before its namesake comes back.
	wantDeleted := []string{"/registry/configmaps/default/new", "/registry/configmaps/default/replaced", "/registry/leases/default/new"}
	if got := slices.Sorted(slices.Values(d.deletes)); !slices.Equal(got, wantDeleted) {
		t.Errorf("deleted %v", got)
	}
	want := maps.Clone(saved)
	want["/registry/leases/kube-node-lease/n"], want["/registry/leases/default/operator"] = []byte("2"), []byte("2")
	want["/registry/masterleases/1"], want["/registry/events/default/e"] = []byte("x"), []byte("e")
	got := etcd.get(t)
	for key, value := range want {
		if string(got[key]) != string(value) {
			t.Errorf("%s is %q, not %q", key, got[key], value)
		}
		delete(got, key)
	}
	if len(got) > 0 {
		t.Errorf("left over: %v", slices.Collect(maps.Keys(got)))
	}
	again, err := target.look(t.Context(), etcd)
	if err != nil || !again.isEmpty() {
		t.Errorf("still differs: %v, %v", again, err)
	}
}

func TestDeletedPodComesBackUnderAnotherUID(t *testing.T) {
	etcd := startEtcd(t)
	const key, owned = "/registry/pods/default/web", "/registry/configmaps/default/owned"
	dependent := storedAs(t, "ConfigMap", &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Name: "owned", UID: "3", OwnerReferences: []metav1.OwnerReference{{Kind: "Pod", Name: "web", UID: uid}},
	}})
	etcd.set(t, map[string][]byte{key: storedAs(t, "Pod", runningPod()), owned: dependent})
	target := etcd.save(t)
	if _, err := etcd.client.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	d, err := target.writeOnce(t.Context(), etcd)
	if err != nil || !slices.Equal(d.restarted, []string{key}) {
		t.Fatalf("restarted %v, %v", d.restarted, err)
	}
	pod := readAs(t, etcd.get(t)[key], &corev1.Pod{})
	if pod.UID == uid || pod.Status.Phase != corev1.PodPending {
		t.Errorf("the kubelet would take it for the one that ended: %v", pod)
	}
	if !slices.Equal(target.wanted(), []string{string(pod.UID)}) {
		t.Errorf("nodes are told to keep %v", target.wanted())
	}
	// A later roll-back knows it again.
	reread, err := readTarget(target.dir)
	if err != nil {
		t.Fatal(err)
	}
	d, err = reread.look(t.Context(), etcd)
	if err != nil || !d.isEmpty() || len(d.unready) != 1 {
		t.Errorf("differs: %v, %v", d, err)
	}
	metadata, err := metadataOf(etcd.get(t)[owned])
	if err != nil || metadata.OwnerReferences[0].UID != pod.UID {
		t.Errorf("owned by %v, %v", metadata.OwnerReferences, err)
	}
}

// Controllers that still want the old state make pods and delete others while a
// roll-back settles; kubelets give those a grace period, and nodes must not.
func TestPodsThatEndLateAreTold(t *testing.T) {
	etcd := startEtcd(t)
	const kept, late = "/registry/pods/default/web", "/registry/pods/default/late"
	// Not Ready, which nobody would make it again here.
	saved, deleted, made := runningPod(), runningPod(), runningPod()
	saved.Status.Conditions = nil
	etcd.set(t, map[string][]byte{kept: storedAs(t, "Pod", saved)})
	target := etcd.save(t)
	now := metav1.Now()
	deleted.DeletionTimestamp = &now
	made.Name, made.UID = "late", "22222222-2222-2222-2222-222222222222"
	nodesDone := make(chan struct{})
	go func() {
		defer close(nodesDone)
		etcd.set(t, map[string][]byte{kept: storedAs(t, "Pod", deleted), late: storedAs(t, "Pod", made)})
		for t.Context().Err() == nil {
			pods := etcd.get(t)
			_, isLateThere := pods[late]
			again, isBack := pods[kept]
			if !isLateThere && isBack && readAs(t, again, &corev1.Pod{}).UID != uid {
				return
			}
		}
	}()
	end, err := target.settle(t.Context(), etcd, nodesDone)
	slices.Sort(end.Gone)
	if err != nil || !slices.Equal(end.Gone, []string{uid, string(made.UID)}) {
		t.Errorf("told to end: %v, %v", end.Gone, err)
	}
}

// A Service answers as before only when its controller has seen its pods again.
func TestServiceWaitsForItsEndpoints(t *testing.T) {
	etcd := startEtcd(t)
	const service, key = servicePrefix + "default/web", slicePrefix + "default/web-"
	slice := func(name string, ready ...bool) []byte {
		object := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", Labels: map[string]string{
			discoveryv1.LabelManagedBy: "endpointslice-controller.k8s.io", discoveryv1.LabelServiceName: "web",
		}}}
		for _, is := range ready {
			object.Endpoints = append(object.Endpoints, discoveryv1.Endpoint{Conditions: discoveryv1.EndpointConditions{Ready: &is}})
		}
		return storedAs(t, "EndpointSlice", object)
	}
	etcd.set(t, map[string][]byte{service: configMap(t, "web", uid, "1"), key + "a": slice("a", true, true)})
	target := etcd.save(t)
	for _, now := range []struct {
		slice []byte
		want  int
	}{{slice("b", true, false), 1}, {slice("b", true, true), 0}} {
		if _, err := etcd.client.Delete(t.Context(), key+"a"); err != nil {
			t.Fatal(err)
		}
		etcd.set(t, map[string][]byte{key + "b": now.slice})
		d, err := target.look(t.Context(), etcd)
		if err != nil || !d.isEmpty() || len(d.unready) != now.want {
			t.Errorf("differs: %v, %v", d, err)
		}
	}
}

// What a kubelet said of a static pod before its manifest was put back is no longer true.
func TestStaticPodThatIsRestartedIsReadyOnlyAnew(t *testing.T) {
	etcd := startEtcd(t)
	const key = podPrefix + "kube-system/kube-apiserver-one"
	restarted := time.Now()
	mirror := func(started time.Time) []byte {
		pod := runningPod()
		pod.Name, pod.Namespace = "kube-apiserver-one", "kube-system"
		pod.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "hash"}
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{
			Name:  "kube-apiserver",
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(started)}},
		}}
		return storedAs(t, "Pod", pod)
	}
	etcd.set(t, map[string][]byte{key: mirror(restarted.Add(-time.Minute))})
	target := etcd.save(t)
	target.startedSince[key] = restarted
	for _, now := range []struct {
		started time.Time
		want    int
	}{{restarted.Add(-10 * time.Second), 1}, {restarted, 0}} {
		etcd.set(t, map[string][]byte{key: mirror(now.started)})
		d, err := target.look(t.Context(), etcd)
		if err != nil || !d.isEmpty() || len(d.unready) != now.want {
			t.Errorf("started %v: differs: %v, %v", now.started.Sub(restarted), d, err)
		}
	}
}
