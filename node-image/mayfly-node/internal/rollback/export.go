package rollback

import (
	"cmp"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"mayfly.io/node-image/mayfly-node/internal/etcdstate"
)

const (
	claimPrefix     = "/registry/persistentvolumeclaims/"
	secretPrefix    = "/registry/secrets/"
	namespacePrefix = "/registry/namespaces/"
)

// exportRequest is what `snapshot-export` reads from standard input.
type exportRequest struct {
	Dir string `json:"dir"`
	// Omit lists patterns of keys to leave out, in the syntax of path.Match.
	Omit []string `json:"omit"`
}

// exported is what it answers.
type exported struct {
	// State is a saved state as etcdstate reads it, in base64.
	State string `json:"state"`
	// Pods that nodes ran, as the API shows them.
	Pods []*corev1.Pod `json:"pods"`
	// Namespaces by their names.
	Namespaces []string `json:"namespaces"`
}

// RunExport writes a snapshot's state without what only its own cluster can use:
// other clusters are made of it.
func RunExport(context.Context, []string) error {
	var request exportRequest
	if err := json.NewDecoder(os.Stdin).Decode(&request); err != nil {
		return fmt.Errorf("read the request on standard input: %w", err)
	}
	target, err := readTarget(request.Dir)
	if err != nil {
		return err
	}
	entries, err := target.portable(request.Omit)
	if err != nil {
		return err
	}
	var packed strings.Builder
	encoded := base64.NewEncoder(base64.StdEncoding, &packed)
	zipped := gzip.NewWriter(encoded)
	lines := json.NewEncoder(zipped)
	answer := exported{Pods: []*corev1.Pod{}, Namespaces: []string{}}
	for _, entry := range entries {
		if err := lines.Encode(entry); err != nil {
			return err
		}
		if name, ok := strings.CutPrefix(entry.Key, namespacePrefix); ok {
			answer.Namespaces = append(answer.Namespaces, name)
		}
	}
	if err := cmp.Or(zipped.Close(), encoded.Close()); err != nil {
		return err
	}
	answer.State = packed.String()
	for _, key := range slices.Sorted(maps.Keys(target.pods)) {
		pod := target.pods[key]
		pod.APIVersion, pod.Kind = "v1", "Pod"
		answer.Pods = append(answer.Pods, pod)
	}
	return json.NewEncoder(os.Stdout).Encode(answer)
}

// portable are the entries that another cluster can have, in the order of their keys.
func (t *target) portable(omit []string) ([]etcdstate.Entry, error) {
	provisioned, err := t.provisionedVolumes()
	if err != nil {
		return nil, err
	}
	var entries []etcdstate.Entry
	for _, key := range slices.Sorted(maps.Keys(t.state)) {
		value := t.state[key].Value
		switch {
		case strings.HasPrefix(key, podPrefix):
			value, err = unscheduled(t.pods[key], value)
		case matchesAny(omit, key) || provisioned[strings.TrimPrefix(key, volumePrefix)] && strings.HasPrefix(key, volumePrefix):
			continue
		case strings.HasPrefix(key, claimPrefix):
			value, err = unbound(value, provisioned)
		case strings.HasPrefix(key, secretPrefix):
			value, err = withoutToken(value)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		if value != nil {
			entries = append(entries, etcdstate.Entry{Key: key, Value: value})
		}
	}
	return entries, nil
}

func matchesAny(patterns []string, key string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		matched, _ := path.Match(pattern, key)
		return matched
	})
}

// provisionedVolumes are the names of volumes that were made for a claim on a
// node of this cluster. Their data stays behind.
func (t *target) provisionedVolumes() (map[string]bool, error) {
	names := map[string]bool{}
	for key, entry := range t.state {
		if !strings.HasPrefix(key, volumePrefix) {
			continue
		}
		metadata, err := metadataOf(entry.Value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		if metadata.Annotations["pv.kubernetes.io/provisioned-by"] != "" {
			names[metadata.Name] = true
		}
	}
	return names, nil
}

// unscheduled is a pod without a node; nil for those that controllers or nodes
// make anew, and for those that have ended.
func unscheduled(pod *corev1.Pod, value []byte) ([]byte, error) {
	if metav1.GetControllerOf(pod) != nil || isMirror(pod) || hasEnded(pod) {
		return nil, nil
	}
	fresh := pod.DeepCopy()
	fresh.Spec.NodeName = ""
	fresh.Status = corev1.PodStatus{Phase: corev1.PodPending, QOSClass: pod.Status.QOSClass}
	return storedLike(value, fresh)
}

// bindAnnotations tell of a claim that it has a volume.
var bindAnnotations = []string{
	"pv.kubernetes.io/bind-completed", "pv.kubernetes.io/bound-by-controller",
	"volume.kubernetes.io/selected-node",
}

// unbound is a claim that waits for a volume, where the one that it had was
// provisioned.
func unbound(value []byte, provisioned map[string]bool) ([]byte, error) {
	claim := &corev1.PersistentVolumeClaim{}
	if err := decode(value, claim); err != nil || !provisioned[claim.Spec.VolumeName] {
		return value, err
	}
	claim.Spec.VolumeName = ""
	claim.Status = corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending}
	for _, annotation := range bindAnnotations {
		delete(claim.Annotations, annotation)
	}
	return storedLike(value, claim)
}

// withoutToken is a Secret without what the old cluster signed: the controller
// manager fills it in again.
func withoutToken(value []byte) ([]byte, error) {
	secret := &corev1.Secret{}
	if err := decode(value, secret); err != nil || secret.Type != corev1.SecretTypeServiceAccountToken {
		return value, err
	}
	secret.Data = nil
	return storedLike(value, secret)
}

// storedLike stores an object in the encoding that its old value has.
func storedLike(value []byte, object interface{ Marshal() ([]byte, error) }) ([]byte, error) {
	envelope, err := message(value)
	if err != nil {
		return json.Marshal(object)
	}
	raw, err := object.Marshal()
	if err != nil {
		return nil, err
	}
	return stored(runtime.Unknown{TypeMeta: envelope.TypeMeta, ContentEncoding: envelope.ContentEncoding, ContentType: envelope.ContentType}, raw)
}
