package rollback

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/uuid"

	"mayfly.io/node-image/mayfly-node/internal/staticpods"
)

// localPathDir is where the default storage class keeps volumes on each node.
const localPathDir = "/var/local-path-provisioner"

// target is the saved state that a roll-back is to reach.
type target struct {
	dir   string
	state savedState
	// pods are the saved pods as they shall be, by key.
	pods map[string]*corev1.Pod
	// startedSince has the keys of static pods that were started anew, with the time
	// since which their containers have to run.
	startedSince map[string]time.Time
	// quiet is how many nanoseconds nothing may change before all is settled.
	quiet atomic.Int64
	// readyNodes are the names of those that were Ready.
	readyNodes []string
	// endpoints are how many each Service had that were ready.
	endpoints map[string]int
	// volumes are the folders of local volumes that belong to saved objects.
	volumes []string
}

func readTarget(dir string) (*target, error) {
	state, err := readState(dir)
	if err != nil {
		return nil, err
	}
	t := &target{dir: dir, state: state, pods: map[string]*corev1.Pod{}, startedSince: map[string]time.Time{}, endpoints: map[string]int{}}
	t.quiet.Store(int64(quiet))
	for key, entry := range state {
		countEndpoints(t.endpoints, key, entry.Value)
		switch {
		case strings.HasPrefix(key, podPrefix):
			pod := &corev1.Pod{}
			if err := decode(entry.Value, pod); err != nil {
				return nil, fmt.Errorf("%s: %w", key, err)
			}
			// It was on its way out then, and is gone now.
			if pod.DeletionTimestamp != nil {
				delete(state, key)
				continue
			}
			t.pods[key] = pod
		case strings.HasPrefix(key, nodePrefix):
			node := &corev1.Node{}
			if err := decode(entry.Value, node); err != nil {
				return nil, fmt.Errorf("%s: %w", key, err)
			}
			if isNodeReady(node) {
				t.readyNodes = append(t.readyNodes, node.Name)
			}
		case strings.HasPrefix(key, volumePrefix):
			volume := &corev1.PersistentVolume{}
			if err := decode(entry.Value, volume); err != nil {
				return nil, fmt.Errorf("%s: %w", key, err)
			}
			if name, ok := strings.CutPrefix(localPath(volume), localPathDir+"/"); ok {
				t.volumes = append(t.volumes, strings.SplitN(name, "/", 2)[0])
			}
		}
	}
	return t, nil
}

// expectAnew has static pods count as Ready only by what their kubelet says of
// containers that were started since then.
func (t *target) expectAnew(pods []staticpods.Name, then time.Time) {
	for _, pod := range pods {
		t.startedSince[podPrefix+pod.String()] = then
	}
}

func localPath(volume *corev1.PersistentVolume) string {
	switch {
	case volume.Spec.HostPath != nil:
		return filepath.Clean(volume.Spec.HostPath.Path)
	case volume.Spec.Local != nil:
		return filepath.Clean(volume.Spec.Local.Path)
	}
	return ""
}

// renew gives a saved pod another UID, in it and wherever else it stands, and
// returns the pod to write.
func (t *target) renew(key string) ([]byte, error) {
	old, fresh := string(t.pods[key].UID), string(uuid.NewUUID())
	anew, err := podAnew(t.state[key].Value, old, fresh)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	for other, entry := range t.state {
		if value := withUID(entry.Value, old, fresh); string(value) != string(entry.Value) {
			t.state[other] = savedEntry{Value: value}
		}
	}
	renewed := &corev1.Pod{}
	if err := decode(t.state[key].Value, renewed); err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	t.pods[key] = renewed
	return anew, nil
}

// serviceOf is the key of the Service that a derived object belongs to; empty
// when no controller looks after the object.
func serviceOf(key string, value []byte) string {
	metadata, err := metadataOf(value)
	if err != nil {
		return ""
	}
	if strings.HasPrefix(key, endpointsPrefix) {
		if metadata.Labels["endpoints.kubernetes.io/managed-by"] == "" {
			return ""
		}
		return servicePrefix + strings.TrimPrefix(key, endpointsPrefix)
	}
	// Those of the default Service are the API servers' own.
	if metadata.Labels[discoveryv1.LabelManagedBy] == "" {
		return ""
	}
	return servicePrefix + metadata.Namespace + "/" + metadata.Labels[discoveryv1.LabelServiceName]
}

// countEndpoints adds the ready endpoints of an EndpointSlice that a controller
// looks after to those of its Service; other objects have none.
func countEndpoints(counts map[string]int, key string, value []byte) {
	slice := &discoveryv1.EndpointSlice{}
	if !strings.HasPrefix(key, slicePrefix) || decode(value, slice) != nil {
		return
	}
	service := serviceOf(key, value)
	for _, endpoint := range slice.Endpoints {
		if service != "" && (endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready) {
			counts[service]++
		}
	}
}

// wanted are the UIDs that the nodes' runtimes know the saved pods by.
func (t *target) wanted() []string {
	uids := []string{}
	for _, pod := range t.pods {
		if runs(pod) {
			uids = append(uids, runtimeUID(pod))
		}
	}
	return uids
}
