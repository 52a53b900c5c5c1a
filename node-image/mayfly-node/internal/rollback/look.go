package rollback

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
)

// difference is what separates etcd from the target.
type difference struct {
	deletes []string
	puts    []put
	// statuses are puts that change nothing but a status, which controllers
	// bring up to date themselves.
	statuses []put
	// events tell of what is no more.
	events []string
	// restarted are the keys of saved pods that have to start once more.
	restarted []string
	// gone are the UIDs, on the nodes, of pods that end.
	gone []string
	// unready says what is not yet as it was, though no key says so.
	unready []string
}

// put is a value to write; with a revision, only over that one.
type put struct {
	key      string
	value    []byte
	revision int64
}

func (d *difference) isEmpty() bool { return len(d.deletes) == 0 && len(d.puts) == 0 }

// look compares etcd with the target. A pod that can't go on gets another UID in
// the target. Pods come first, for what refers to one is to refer to it then.
func (t *target) look(ctx context.Context, s store) (*difference, error) {
	keys, err := s.revisions(ctx)
	if err != nil {
		return nil, err
	}
	d := &difference{}
	running, err := s.values(ctx, t.telling(keys, spliced))
	if err != nil {
		return nil, err
	}
	if err := t.compareAll(d, keys, running, isSpliced); err != nil {
		return nil, err
	}
	others, err := s.values(ctx, t.telling(keys, exact, derived))
	if err != nil {
		return nil, err
	}
	if err := t.compareAll(d, keys, others, func(key string) bool { return !isSpliced(key) }); err != nil {
		return nil, err
	}
	maps.Copy(running, others)
	t.judge(d, running)
	return d, nil
}

// telling are the keys whose values are needed for the comparison.
func (t *target) telling(keys map[string]*mvccpb.KeyValue, among ...care) []string {
	var telling []string
	for key, kv := range keys {
		care := careOf(key)
		if !slices.Contains(among, care) {
			continue
		}
		saved, wasSaved := t.state[key]
		changed := wasSaved && saved.Revision != kv.ModRevision
		if changed || care == spliced || care == derived {
			telling = append(telling, key)
		}
	}
	return telling
}

func isSpliced(key string) bool { return careOf(key) == spliced }

// compareAll compares those keys, of etcd and of the target.
func (t *target) compareAll(d *difference, keys, current map[string]*mvccpb.KeyValue, these func(string) bool) error {
	for key := range keys {
		if !these(key) {
			continue
		}
		if err := t.compareCurrent(d, key, current[key]); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	for key := range t.state {
		if _, present := keys[key]; present || !these(key) || careOf(key) == loose {
			continue
		}
		if err := t.bringBack(d, key); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	return nil
}

// compareCurrent decides about a key that etcd has; the value is there when it
// tells anything and is still there.
func (t *target) compareCurrent(d *difference, key string, kv *mvccpb.KeyValue) error {
	saved, wasSaved := t.state[key]
	switch careOf(key) {
	case untouched:
		return nil
	case dropped:
		d.events = append(d.events, key)
		return nil
	case loose:
		if !wasSaved {
			d.deletes = append(d.deletes, key)
		}
		return nil
	case derived:
		if kv != nil && t.isLookedAfter(key, kv.Value) {
			return nil
		}
	case spliced:
		if kv == nil {
			return nil
		}
		if strings.HasPrefix(key, podPrefix) {
			return t.comparePod(d, key, kv)
		}
		return t.compareNode(d, key, kv)
	}
	if !wasSaved {
		d.deletes = append(d.deletes, key)
		return nil
	}
	if kv == nil || bytes.Equal(kv.Value, saved.Value) {
		return nil
	}
	t.compareValues(d, key, saved.Value, kv)
	return nil
}

// isLookedAfter tells a derived object whose Service stays.
func (t *target) isLookedAfter(key string, value []byte) bool {
	service := serviceOf(key, value)
	_, stays := t.state[service]
	return service != "" && stays
}

func (t *target) compareValues(d *difference, key string, saved []byte, kv *mvccpb.KeyValue) {
	was, wasErr := metadataOf(saved)
	is, isErr := metadataOf(kv.Value)
	if wasErr == nil && isErr == nil && was.UID != is.UID {
		// Another object of the same name: whoever watches has to see the one
		// go before the other comes.
		d.deletes = append(d.deletes, key)
	} else if sameButStatus(key, saved, kv.Value) {
		d.statuses = append(d.statuses, put{key: key, value: saved})
		return
	}
	d.puts = append(d.puts, put{key: key, value: saved})
}

func (t *target) comparePod(d *difference, key string, kv *mvccpb.KeyValue) error {
	current := &corev1.Pod{}
	if err := decode(kv.Value, current); err != nil {
		return err
	}
	saved, wasSaved := t.pods[key]
	switch {
	case !wasSaved:
		d.deletes = append(d.deletes, key)
		d.gone = append(d.gone, runtimeUID(current))
	case isMirror(saved) && isMirror(current):
		if runtimeUID(saved) != runtimeUID(current) {
			d.unready = append(d.unready, fmt.Sprintf("pod %s/%s still has another manifest", current.Namespace, current.Name))
		}
	case !survives(saved, current):
		d.gone = append(d.gone, runtimeUID(current))
		d.deletes = append(d.deletes, key)
		return t.bringBack(d, key)
	default:
		value, err := podAsSaved(t.state[key].Value, kv.Value)
		if value != nil {
			d.puts = append(d.puts, put{key, value, kv.ModRevision})
		}
		return err
	}
	return nil
}

func (t *target) compareNode(d *difference, key string, kv *mvccpb.KeyValue) error {
	saved, wasSaved := t.state[key]
	if !wasSaved {
		d.deletes = append(d.deletes, key)
		return nil
	}
	value, err := nodeAsSaved(saved.Value, kv.Value)
	if value != nil {
		d.puts = append(d.puts, put{key, value, kv.ModRevision})
	}
	return err
}

// bringBack writes a saved object that is missing.
func (t *target) bringBack(d *difference, key string) error {
	entry := t.state[key]
	if careOf(key) == derived && t.isLookedAfter(key, entry.Value) {
		return nil // its controller makes a new one
	}
	if pod, isPod := t.pods[key]; isPod && !isMirror(pod) && runs(pod) {
		anew, err := t.renew(key)
		if err != nil {
			return err
		}
		d.puts = append(d.puts, put{key: key, value: anew})
		d.restarted = append(d.restarted, key)
		return nil
	}
	d.puts = append(d.puts, put{key: key, value: entry.Value})
	return nil
}

// judge finds what is not yet as Ready as it was.
func (t *target) judge(d *difference, current map[string]*mvccpb.KeyValue) {
	for key, saved := range t.pods {
		kv := current[key]
		if !runs(saved) || !wasReady(t.state[key].Value) {
			continue
		}
		pod := &corev1.Pod{}
		if kv == nil || decode(kv.Value, pod) != nil || pod.UID != saved.UID && !isMirror(saved) || !isReady(pod) {
			d.unready = append(d.unready, fmt.Sprintf("pod %s/%s is not Ready", saved.Namespace, saved.Name))
		} else if since, isAnew := t.startedSince[key]; isAnew && !runsSince(pod, since) {
			d.unready = append(d.unready, fmt.Sprintf("pod %s/%s has not started anew", saved.Namespace, saved.Name))
		}
	}
	for _, name := range t.readyNodes {
		node := &corev1.Node{}
		if kv := current[nodePrefix+name]; kv == nil || decode(kv.Value, node) != nil || !isNodeReady(node) {
			d.unready = append(d.unready, fmt.Sprintf("node %s is not Ready", name))
		}
	}
	are := map[string]int{}
	for key, kv := range current {
		countEndpoints(are, key, kv.Value)
	}
	for service, count := range t.endpoints {
		if are[service] < count {
			d.unready = append(d.unready, fmt.Sprintf("Service %s has %d of %d endpoints", strings.TrimPrefix(service, servicePrefix), are[service], count))
		}
	}
	slices.Sort(d.unready)
}

func wasReady(value []byte) bool {
	pod := &corev1.Pod{}
	return decode(value, pod) == nil && isReady(pod)
}

// apply writes a difference in the order in which nobody undoes it meanwhile:
// first goes that through which others act, then the rest comes back, so that
// controllers want what is saved, and then goes what they no longer want.
func (d *difference) apply(ctx context.Context, s store) error {
	var first, last, puts []clientv3.Op
	for _, key := range d.deletes {
		if isActor(key) || d.isReplaced(key) {
			first = append(first, clientv3.OpDelete(key))
		} else {
			last = append(last, clientv3.OpDelete(key))
		}
	}
	for _, p := range d.puts {
		puts = append(puts, p.operation())
	}
	for _, operations := range [][]clientv3.Op{first, puts, last} {
		if err := s.write(ctx, operations); err != nil {
			return err
		}
	}
	return nil
}

// isReplaced tells a key that another object is written to.
func (d *difference) isReplaced(key string) bool {
	return slices.ContainsFunc(d.puts, func(p put) bool { return p.key == key })
}

func (p put) operation() clientv3.Op {
	write := clientv3.OpPut(p.key, string(p.value))
	if p.revision == 0 {
		return write
	}
	unchanged := clientv3.Compare(clientv3.ModRevision(p.key), "=", p.revision)
	return clientv3.OpTxn([]clientv3.Cmp{unchanged}, []clientv3.Op{write}, nil)
}
