package rollback

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

const (
	uid      = "11111111-1111-1111-1111-111111111111"
	freshUID = "22222222-2222-2222-2222-222222222222"
)

// storedAs is an object as the API server stores it.
func storedAs(t *testing.T, kind string, object interface{ Marshal() ([]byte, error) }) []byte {
	t.Helper()
	raw, err := object.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	value, err := stored(runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: "v1", Kind: kind}}, raw)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func readAs[T interface{ Unmarshal([]byte) error }](t *testing.T, value []byte, into T) T {
	t.Helper()
	if err := decode(value, into); err != nil {
		t.Fatal(err)
	}
	return into
}

func runningPod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web", UID: uid, Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{{Name: "c", Image: "one"}}},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: "10.0.0.1", QOSClass: corev1.PodQOSBestEffort,
			Conditions: []corev1.PodCondition{
				{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}, {Type: corev1.PodReady, Status: corev1.ConditionTrue},
			},
		},
	}
}

func TestPodKeepsItsStatusAndGetsItsSpecBack(t *testing.T) {
	changed := runningPod()
	changed.Spec.Containers[0].Image = "two"
	changed.Labels["suite"] = "yes"
	changed.Status.PodIP = "10.0.0.2"
	value, err := podAsSaved(storedAs(t, "Pod", runningPod()), storedAs(t, "Pod", changed))
	if err != nil {
		t.Fatal(err)
	}
	pod := readAs(t, value, &corev1.Pod{})
	if pod.Spec.Containers[0].Image != "one" || len(pod.Labels) != 1 || pod.Status.PodIP != "10.0.0.2" {
		t.Errorf("got %v", pod)
	}
}

func TestPodWithAnotherStatusIsTheSame(t *testing.T) {
	later := runningPod()
	later.Status.PodIP = "10.0.0.2"
	later.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubelet"}}
	value, err := podAsSaved(storedAs(t, "Pod", runningPod()), storedAs(t, "Pod", later))
	if err != nil || value != nil {
		t.Errorf("would write %q, %v", value, err)
	}
}

func TestPodThatStartsOnceMoreIsAnotherOne(t *testing.T) {
	value, err := podAnew(storedAs(t, "Pod", runningPod()), uid, freshUID)
	if err != nil {
		t.Fatal(err)
	}
	pod := readAs(t, value, &corev1.Pod{})
	if pod.UID != freshUID || pod.Name != "web" || pod.Spec.NodeName != "n" {
		t.Errorf("got %v", pod)
	}
	status := pod.Status
	if status.Phase != corev1.PodPending || status.PodIP != "" || isReady(pod) || len(status.Conditions) != 1 ||
		status.QOSClass != corev1.PodQOSBestEffort {
		t.Errorf("it has not started, and says %v", status)
	}
}

func TestWhichPodsGoOn(t *testing.T) {
	now := metav1.Now()
	for name, change := range map[string]func(*corev1.Pod){
		"on its way out":         func(p *corev1.Pod) { p.DeletionTimestamp = &now },
		"another one":            func(p *corev1.Pod) { p.UID = freshUID },
		"evicted":                func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed },
		"with a debug container": func(p *corev1.Pod) { p.Spec.EphemeralContainers = make([]corev1.EphemeralContainer, 1) },
	} {
		current := runningPod()
		change(current)
		if survives(runningPod(), current) {
			t.Errorf("a pod that is %s can't go on", name)
		}
	}
	if !survives(runningPod(), runningPod()) {
		t.Error("an unchanged pod goes on")
	}
}

func readyNode() *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "n", UID: uid, Labels: map[string]string{"zone": "a"}},
		Spec:       corev1.NodeSpec{PodCIDR: "10.1.0.0/24"},
		Status: corev1.NodeStatus{
			Capacity:   corev1.ResourceList{"cpu": resource.MustParse("2"), "vendor.example/gpu": resource.MustParse("1")},
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		},
	}
}

func TestNodeGetsBackWhatOthersSet(t *testing.T) {
	changed := readyNode()
	changed.Labels["suite"] = "yes"
	changed.Spec.Unschedulable = true
	changed.Spec.Taints = []corev1.Taint{{Key: "suite", Effect: corev1.TaintEffectNoExecute}}
	changed.Status.Capacity = corev1.ResourceList{"cpu": resource.MustParse("4"), "suite.example/gpu": resource.MustParse("8")}
	changed.Status.Conditions[0].Status = corev1.ConditionFalse
	changed.Status.Conditions = append(changed.Status.Conditions, corev1.NodeCondition{Type: "Suite"})
	value, err := nodeAsSaved(storedAs(t, "Node", readyNode()), storedAs(t, "Node", changed))
	if err != nil {
		t.Fatal(err)
	}
	node := readAs(t, value, &corev1.Node{})
	if len(node.Labels) != 1 || node.Spec.Unschedulable || len(node.Spec.Taints) != 0 || node.Spec.PodCIDR == "" {
		t.Errorf("metadata and spec are %v, %v", node.Labels, node.Spec)
	}
	capacity := node.Status.Capacity
	if len(capacity) != 2 || capacity.Cpu().Value() != 4 {
		t.Errorf("the node tells of its processors, nobody adds resources: %v", capacity)
	}
	if gpu := capacity["vendor.example/gpu"]; gpu.Value() != 1 {
		t.Errorf("the saved extended resource is %v", gpu)
	}
	if len(node.Status.Conditions) != 1 || isNodeReady(node) {
		t.Errorf("conditions are the node's own: %v", node.Status.Conditions)
	}
}

func TestUnchangedNodeIsNotWritten(t *testing.T) {
	node := storedAs(t, "Node", readyNode())
	value, err := nodeAsSaved(node, node)
	if err != nil || value != nil {
		t.Errorf("would write %q, %v", value, err)
	}
}

// What a newer Kubernetes stores has fields that this program does not know.
func TestUnknownFieldsSurvive(t *testing.T) {
	p, err := partsOf(storedAs(t, "Pod", runningPod()))
	if err != nil {
		t.Fatal(err)
	}
	unknown := bytesField(9000, []byte("from the future"))
	p.spec = slices.Concat(p.spec, unknown)
	saved, err := p.stored()
	if err != nil {
		t.Fatal(err)
	}
	anew, err := podAnew(saved, uid, freshUID)
	if err != nil || !bytes.Contains(anew, unknown) {
		t.Errorf("lost in %q, %v", anew, err)
	}
}

func TestStatusAlone(t *testing.T) {
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data", UID: types.UID(uid)}}
	bound := claim.DeepCopy()
	bound.Status.Phase = corev1.ClaimBound
	named := claim.DeepCopy()
	named.Spec.VolumeName = "pv"
	const key = "/registry/persistentvolumeclaims/default/data"
	value := func(c *corev1.PersistentVolumeClaim) []byte { return storedAs(t, "PersistentVolumeClaim", c) }
	if !sameButStatus(key, value(claim), value(bound)) {
		t.Error("only the status differs")
	}
	if sameButStatus(key, value(claim), value(named)) {
		t.Error("the spec differs")
	}
	// The third field of a ConfigMap is no status.
	if sameButStatus("/registry/configmaps/default/data", value(claim), value(bound)) {
		t.Error("kinds without a status have none")
	}
	for after, want := range map[string]bool{`{"spec":1,"status":2}`: true, `{"spec":2,"status":1}`: false} {
		if sameButStatus("/registry/x.example/y", []byte(`{"spec":1,"status":1}`), []byte(after)) != want {
			t.Errorf("JSON: %s", after)
		}
	}
}

func TestMetadataOfJSON(t *testing.T) {
	value, _ := json.Marshal(map[string]any{"metadata": map[string]any{"name": "x", "uid": uid}})
	metadata, err := metadataOf(value)
	if err != nil || metadata.UID != uid {
		t.Errorf("got %v, %v", metadata, err)
	}
}
