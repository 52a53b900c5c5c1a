package rollback

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"
	"mayfly.io/node-image/mayfly-node/internal/etcdstate"
)

const (
	// quiet is how long nothing may change before a roll-back counts as settled.
	quiet = 100 * time.Millisecond
	// quietAnew is the same where kubelets were started anew: until they have probed
	// them, they call pods not Ready that were.
	quietAnew = 3 * time.Second
)

// debounce lets changes that belong together come before the next comparison.
const debounce = 20 * time.Millisecond

// request is what `rollback` reads from standard input. A second document says that
// the nodes have ended what they had to; when the input ends without it, whoever
// asked has gone, and the roll-back is given up.
type request struct {
	// Dir is the folder that `snapshot-take` made.
	Dir       string `json:"dir"`
	TimeoutMs int    `json:"timeoutMs"`
}

// nodesEnd is the second document.
type nodesEnd struct {
	// Restored tells whether files were put back on any of the nodes.
	Restored bool `json:"restored"`
}

// written is told as soon as etcd has the saved state.
type written struct {
	Event   string `json:"event"`
	Deleted int    `json:"deleted"`
	Written int    `json:"written"`
	// Restarted are pods as NAMESPACE/NAME that come back and start once more.
	Restarted []string `json:"restarted"`
	// Files of this node that were put back.
	Files []string `json:"files"`
	// Gone and Wanted are UIDs of pods as the nodes' runtimes know them.
	Gone   []string `json:"gone"`
	Wanted []string `json:"wanted"`
	// Volumes are the folders of local volumes to keep.
	Volumes []string `json:"volumes"`
	// BeforeMs is when the first key was written, in Unix time.
	BeforeMs int64 `json:"beforeMs"`
	TookMs   int64 `json:"tookMs"`
}

// settled is told at the end.
type settled struct {
	Event string `json:"event"`
	// Pending is what has not come about in time; empty after a success.
	Pending []string `json:"pending"`
	// Repeats is how often something had to be written again, because
	// somebody was still at work on the old state.
	Repeats int `json:"repeats"`
	// Gone are UIDs of more pods that end: somebody who still was at work on
	// the old state made or deleted them after it was written back.
	Gone []string `json:"gone"`
	// Keys is how many keys were compared at the end and found to be as saved.
	Keys   int   `json:"keys"`
	TookMs int64 `json:"tookMs"`
}

// Run takes this control plane back to a saved state.
//
// It may be started long before it is told to: all that a roll-back can have
// ready is there by then.
func Run(ctx context.Context, _ []string) error {
	// The whole cluster is busy with what ends, and all of it waits for this.
	// Where the host does not allow it, it only takes longer.
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, -20)
	client, err := etcdstate.Connect()
	if err != nil {
		return err
	}
	defer client.Close()
	s := store{client}
	// It connects with its first question, which may as well come early.
	go client.Get(ctx, lastEnd)
	input := json.NewDecoder(os.Stdin)
	var request request
	if err := input.Decode(&request); err != nil {
		return fmt.Errorf("read the request on standard input: %w", err)
	}
	start := time.Now()
	ctx, stop := context.WithTimeout(ctx, time.Duration(request.TimeoutMs)*time.Millisecond)
	defer stop()
	unlock, err := lock(filepath.Dir(request.Dir))
	if err != nil {
		return err
	}
	defer unlock()
	files, err := restoreFiles(request.Dir)
	if err != nil {
		return err
	}
	restored := time.Now()
	pods, err := staticPodsOf(files)
	if err != nil {
		return err
	}
	// Beside the rest, and in time also where etcd does not run without it.
	services := make(chan error, 1)
	go func() { services <- startServices(ctx, files, pods) }()
	target, err := readTarget(request.Dir)
	if err != nil {
		return err
	}
	if len(pods) > 0 {
		// etcd, which is read next, may be one of them.
		if err := <-services; err != nil {
			return err
		}
		services <- nil
		target.expectAnew(pods, restored)
	}
	first, err := target.writeOnce(ctx, s)
	if err != nil {
		return err
	}
	output := json.NewEncoder(os.Stdout)
	err = output.Encode(written{
		Event: "written", Deleted: len(first.deletes), Written: len(first.puts),
		Restarted: podNames(first.restarted), Files: orEmpty(files), Gone: orEmpty(first.gone), Wanted: target.wanted(),
		Volumes: orEmpty(target.volumes), BeforeMs: start.UnixMilli(), TookMs: time.Since(start).Milliseconds(),
	})
	if err != nil {
		return err
	}
	nodesDone := make(chan struct{})
	go func() {
		var nodes nodesEnd
		if err := input.Decode(&nodes); err != nil {
			stop()
			return
		}
		if len(files) > 0 || nodes.Restored {
			target.quiet.Store(int64(quietAnew))
		}
		close(nodesDone)
	}()
	end, err := target.settle(ctx, s, nodesDone)
	if err := errors.Join(err, <-services); err != nil {
		return err
	}
	if len(end.Pending) == 0 {
		if err := s.forgetLast(ctx); err != nil {
			return err
		}
	}
	end.TookMs = time.Since(start).Milliseconds()
	return output.Encode(end)
}

// lock keeps a roll-back that was given up from meddling with the next one.
func lock(dir string) (unlock func(), err error) {
	file, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return func() { file.Close() }, nil
}

// lastEnd is the key that is written at the end of each roll-back: its revision
// is where etcd then stood. No API server looks outside its own prefix.
const lastEnd = "mayfly/last-rollback"

// forgetLast forgets what was before the end of the last roll-back, and remembers
// the end of this one. Of this one some watches may still have to hear.
func (s store) forgetLast(ctx context.Context) error {
	last, err := s.client.Get(ctx, lastEnd)
	if err != nil {
		return fmt.Errorf("read the end of the last roll-back: %w", err)
	}
	// Written by each one, though nothing else may be: what etcd forgets while
	// somebody reads counts as used until a later write.
	if _, err := s.client.Put(ctx, lastEnd, ""); err != nil {
		return fmt.Errorf("write the end of the roll-back: %w", err)
	}
	if len(last.Kvs) == 0 {
		return nil
	}
	return s.forget(ctx, last.Kvs[0].ModRevision)
}

// writeOnce looks and writes what differs, statuses too.
func (t *target) writeOnce(ctx context.Context, s store) (*difference, error) {
	d, err := t.look(ctx, s)
	if err != nil {
		return nil, err
	}
	d.puts = append(d.puts, d.statuses...)
	return d, t.write(ctx, s, d)
}

// write carries a difference out. New UIDs are kept first: an interrupted
// roll-back must not take the pods that it made for somebody else's.
func (t *target) write(ctx context.Context, s store, d *difference) error {
	if len(d.restarted) > 0 {
		if err := writeState(t.dir, t.state); err != nil {
			return err
		}
	}
	return d.apply(ctx, s)
}

// settle repeats what others undo, until everything is as it was, the nodes are
// done, and nothing has changed for a while.
func (t *target) settle(ctx context.Context, s store, nodesDone <-chan struct{}) (settled, error) {
	end := settled{Event: "settled", Pending: []string{}, Gone: []string{}, Keys: len(t.state)}
	changes := s.client.Watch(ctx, root, clientv3.WithPrefix())
	polished := false
	for first := true; ; first = false {
		d, err := t.look(ctx, s)
		if ctx.Err() != nil {
			end.Pending = append(end.Pending, "a last comparison with the saved state")
			return end, nil
		}
		if err != nil {
			return end, err
		}
		end.Gone = append(end.Gone, d.gone...)
		pending := d.pending()
		switch {
		case !d.isEmpty():
			end.Repeats++
		case first:
			// Events are the last that anybody misses.
			d.deletes = d.events
		case len(pending) == 0 && !polished:
			// Now that the saved statuses are true again, controllers let them stand.
			polished = true
			d.puts, d.deletes = d.statuses, d.events
		}
		if err := t.write(ctx, s, d); err != nil && ctx.Err() == nil {
			return end, err
		}
		wait := t.quiet.Load()
		calm := isCalm(ctx, changes, time.Duration(wait))
		if ctx.Err() != nil {
			end.Pending = append(pending, unfinished(nodesDone)...)
			return end, nil
		}
		// The nodes, when they are done, may ask for a longer wait.
		if calm && len(pending) == 0 && len(unfinished(nodesDone)) == 0 && wait == t.quiet.Load() {
			return end, nil
		}
	}
}

// isCalm waits for a change that matters, and tells whether none came.
func isCalm(ctx context.Context, changes clientv3.WatchChan, quiet time.Duration) bool {
	timer := time.NewTimer(quiet)
	defer timer.Stop()
	calm := true
	for {
		select {
		case <-ctx.Done():
			return false
		case response, open := <-changes:
			if !open {
				changes = nil
			}
			if calm && slices.ContainsFunc(response.Events, matters) {
				calm = false
				timer.Reset(debounce)
			}
		case <-timer.C:
			return calm
		}
	}
}

func matters(event *clientv3.Event) bool {
	key := string(event.Kv.Key)
	switch careOf(key) {
	case exact, derived:
		return true
	case spliced:
		return !strings.HasPrefix(key, nodePrefix)
	}
	return false
}

func unfinished(nodesDone <-chan struct{}) []string {
	select {
	case <-nodesDone:
		return nil
	default:
		return []string{"the nodes' processes"}
	}
}

func (d *difference) pending() []string {
	pending := slices.Clone(d.unready)
	for _, key := range d.deletes {
		pending = append(pending, key+" is there again")
	}
	for _, p := range d.puts {
		pending = append(pending, p.key+" differs again")
	}
	return pending
}

func podNames(keys []string) []string {
	names := make([]string, len(keys))
	for i, key := range keys {
		names[i] = strings.TrimPrefix(key, podPrefix)
	}
	slices.Sort(names)
	return names
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
