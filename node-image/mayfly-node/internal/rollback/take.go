package rollback

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"mayfly.io/node-image/mayfly-node/internal/etcdstate"
)

// takeRequest is what `snapshot-take` reads from standard input.
type takeRequest struct {
	// Dir is the folder to make, of this node.
	Dir string `json:"dir"`
	// State is whether to save etcd's keys as well; else only this node's files.
	State bool `json:"state"`
	// QuietMs is how long nothing may have changed.
	QuietMs int `json:"quietMs"`
	// TimeoutMs is how long to wait for that.
	TimeoutMs int `json:"timeoutMs"`
}

// taken is what it answers.
type taken struct {
	Keys     int   `json:"keys"`
	Bytes    int   `json:"bytes"`
	Revision int64 `json:"revision"`
	// Settled is false when controllers were still at work.
	Settled bool `json:"settled"`
}

// RunTake saves the state of this control plane, and the files that make this
// node what it is, in a folder of the node.
func RunTake(ctx context.Context, _ []string) error {
	var request takeRequest
	if err := json.NewDecoder(os.Stdin).Decode(&request); err != nil {
		return fmt.Errorf("read the request on standard input: %w", err)
	}
	if err := os.MkdirAll(request.Dir, 0o700); err != nil {
		return err
	}
	if err := saveFiles(request.Dir); err != nil {
		return err
	}
	var answer taken
	if request.State {
		client, err := etcdstate.Connect()
		if err != nil {
			return err
		}
		defer client.Close()
		var state savedState
		state, answer, err = store{client}.takeQuiet(ctx,
			time.Duration(request.QuietMs)*time.Millisecond, time.Duration(request.TimeoutMs)*time.Millisecond)
		if err != nil {
			return err
		}
		if err := writeState(request.Dir, state); err != nil {
			return err
		}
	}
	return json.NewEncoder(os.Stdout).Encode(answer)
}

// takeQuiet reads the state once nothing in it changes any more, or at the
// deadline as it is then.
func (s store) takeQuiet(ctx context.Context, quiet, timeout time.Duration) (savedState, taken, error) {
	deadline := time.Now().Add(timeout)
	for {
		state, answer, err := s.take(ctx)
		if err != nil {
			return nil, answer, err
		}
		change, err := s.changeSince(ctx, answer.Revision, quiet)
		if err != nil {
			return nil, answer, err
		}
		answer.Settled = !change
		if answer.Settled || time.Now().After(deadline) {
			return state, answer, nil
		}
	}
}

func (s store) take(ctx context.Context) (savedState, taken, error) {
	response, err := s.client.Get(ctx, root, clientv3.WithPrefix())
	if err != nil {
		return nil, taken{}, fmt.Errorf("read etcd's keys: %w", err)
	}
	state := savedState{}
	answer := taken{Revision: response.Header.Revision}
	for _, kv := range response.Kvs {
		care := careOf(string(kv.Key))
		// What has a lease goes by itself.
		if care == dropped || care == untouched || kv.Lease != 0 {
			continue
		}
		state[string(kv.Key)] = savedEntry{Value: kv.Value, Revision: kv.ModRevision}
		answer.Keys++
		answer.Bytes += len(kv.Value)
	}
	return state, answer, nil
}

// changeSince waits for a change that a snapshot would have to have, and tells
// whether there was one.
func (s store) changeSince(ctx context.Context, revision int64, quiet time.Duration) (bool, error) {
	ctx, stop := context.WithTimeout(ctx, quiet)
	defer stop()
	changes := s.client.Watch(ctx, root, clientv3.WithPrefix(), clientv3.WithRev(revision+1))
	for response := range changes {
		if err := response.Err(); err != nil {
			return false, fmt.Errorf("watch etcd: %w", err)
		}
		for _, event := range response.Events {
			if matters(event) {
				return true, nil
			}
		}
	}
	return false, nil
}
