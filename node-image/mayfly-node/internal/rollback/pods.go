package rollback

import (
	"bytes"
	"errors"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// isMirror tells a static pod's picture in the API, which its node looks after.
func isMirror(pod *corev1.Pod) bool {
	_, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]
	return mirror
}

// runtimeUID is the UID that the node's container runtime knows a pod by.
func runtimeUID(pod *corev1.Pod) string {
	if hash, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return hash
	}
	return string(pod.UID)
}

func hasEnded(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// runs tells whether a node has to run the pod.
func runs(pod *corev1.Pod) bool {
	return pod.Spec.NodeName != "" && !hasEnded(pod)
}

func isReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// runsSince tells whether all containers of a pod were started since then, in the
// whole seconds that objects have.
func runsSince(pod *corev1.Pod, then time.Time) bool {
	return len(pod.Status.ContainerStatuses) > 0 && !slices.ContainsFunc(pod.Status.ContainerStatuses, func(c corev1.ContainerStatus) bool {
		return c.State.Running == nil || c.State.Running.StartedAt.Time.Before(then.Truncate(time.Second))
	})
}

// survives tells whether a pod can go on as the one that was saved. One that is
// on its way out can't be called back, and a debug container can't be taken out.
func survives(saved, current *corev1.Pod) bool {
	if saved.UID != current.UID || saved.Spec.NodeName != current.Spec.NodeName {
		return false
	}
	if current.DeletionTimestamp != nil && saved.DeletionTimestamp == nil {
		return false
	}
	return hasEnded(saved) == hasEnded(current) &&
		len(saved.Spec.EphemeralContainers) == len(current.Spec.EphemeralContainers)
}

// podAsSaved is the current pod with metadata and spec of the saved one; nil
// when it has them already. The status is its node's to tell.
func podAsSaved(saved, current []byte) ([]byte, error) {
	was, err := partsOf(saved)
	if errors.Is(err, errNotProtobuf) {
		return nil, nil // as it was seeded, which nobody has changed since
	}
	if err != nil {
		return nil, err
	}
	is, err := partsOf(current)
	if err != nil {
		return nil, err
	}
	wasMeta, err := metadataOf(saved)
	if err != nil {
		return nil, err
	}
	isMeta, err := metadataOf(current)
	if err != nil {
		return nil, err
	}
	if sameMetadata(wasMeta, isMeta) && bytes.Equal(was.spec, is.spec) {
		return nil, nil
	}
	was.status = is.status
	return was.stored()
}

// podAnew is the saved pod under another UID and not yet started. A node runs
// no UID twice: what has ended stays so.
func podAnew(saved []byte, uid, freshUID string) ([]byte, error) {
	p, err := partsOf(withUID(saved, uid, freshUID))
	if err != nil {
		return nil, err
	}
	var status corev1.PodStatus
	if err := status.Unmarshal(p.status); err != nil {
		return nil, err
	}
	scheduled := slices.DeleteFunc(status.Conditions, func(c corev1.PodCondition) bool { return c.Type != corev1.PodScheduled })
	p.status, err = (&corev1.PodStatus{Phase: corev1.PodPending, Conditions: scheduled, QOSClass: status.QOSClass}).Marshal()
	if err != nil {
		return nil, err
	}
	return p.stored()
}

// withUID replaces a UID wherever it stands in a stored object. UIDs are unique
// and of one length, so this holds in every encoding.
func withUID(value []byte, uid, freshUID string) []byte {
	return bytes.ReplaceAll(value, []byte(uid), []byte(freshUID))
}
