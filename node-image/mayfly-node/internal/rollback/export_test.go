package rollback

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestPortableStateHasNothingOfItsCluster(t *testing.T) {
	owned := runningPod()
	controller := true
	owned.OwnerReferences = []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "web", UID: "9", Controller: &controller}}
	volume := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{
		Name: "pvc-1", Annotations: map[string]string{"pv.kubernetes.io/provisioned-by": "rancher.io/local-path"},
	}}
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "data", Annotations: map[string]string{"pv.kubernetes.io/bind-completed": "yes", "mine": "1"}},
		Spec:       corev1.PersistentVolumeClaimSpec{VolumeName: "pvc-1"},
		Status:     corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound},
	}
	token := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "token"}, Type: corev1.SecretTypeServiceAccountToken,
		Data: map[string][]byte{"token": []byte("signed by the old key")},
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "mine"}, Data: map[string][]byte{"k": []byte("v")}}
	etcd := startEtcd(t)
	etcd.set(t, map[string][]byte{
		podPrefix + "default/bare": storedAs(t, "Pod", runningPod()), podPrefix + "default/owned": storedAs(t, "Pod", owned),
		volumePrefix + "pvc-1": storedAs(t, "PersistentVolume", volume), claimPrefix + "default/data": storedAs(t, "PersistentVolumeClaim", claim),
		secretPrefix + "default/token": storedAs(t, "Secret", token), secretPrefix + "default/mine": storedAs(t, "Secret", secret),
		"/registry/configmaps/default/kube-root-ca.crt": []byte("{}"), "/registry/configmaps/default/mine": []byte("{}"),
	})
	entries, err := etcd.save(t).portable([]string{"/registry/pods/*/*", "/registry/configmaps/*/kube-root-ca.crt"})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]byte{}
	for _, entry := range entries {
		got[entry.Key] = entry.Value
	}
	if len(got) != 5 {
		t.Errorf("there are %d entries: %v", len(got), got)
	}
	pod := readAs(t, got[podPrefix+"default/bare"], &corev1.Pod{})
	if pod.Spec.NodeName != "" || pod.Status.Phase != corev1.PodPending || pod.Labels["app"] != "web" {
		t.Errorf("the bare pod is to be scheduled: %v", pod)
	}
	bound := readAs(t, got[claimPrefix+"default/data"], &corev1.PersistentVolumeClaim{})
	if bound.Spec.VolumeName != "" || bound.Status.Phase != corev1.ClaimPending || len(bound.Annotations) != 1 {
		t.Errorf("the claim is to get a volume: %v", bound)
	}
	if data := readAs(t, got[secretPrefix+"default/token"], &corev1.Secret{}).Data; len(data) != 0 {
		t.Errorf("the token is %v", data)
	}
	if data := readAs(t, got[secretPrefix+"default/mine"], &corev1.Secret{}).Data; string(data["k"]) != "v" {
		t.Errorf("a user's Secret is %v", data)
	}
}
