package rollback

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
)

const (
	// root is the prefix of all of the API server's keys.
	root = "/registry/"
	// compacted is the key in which an API server that has etcd forget versions
	// tells the others up to which revision (compactRevKey in apiserver's
	// storage/etcd3/compact.go). What they keep of these versions they drop.
	compacted = "compact_rev_key"
	// readsAtOnce are the reads in one request; etcd takes up to 128 (--max-txn-ops).
	readsAtOnce = 100
	// writesAtOnce are the writes under way at one time; etcd makes few
	// entries of its log of them.
	writesAtOnce = 64
	// roomToGiveBack is how much of etcd's file may be unused, in bytes.
	roomToGiveBack = 32 << 20
)

// store is the etcd of this node.
type store struct{ client *clientv3.Client }

// revisions are the keys with the revision of each one's last change.
func (s store) revisions(ctx context.Context) (map[string]*mvccpb.KeyValue, error) {
	response, err := s.client.Get(ctx, root, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return nil, fmt.Errorf("read etcd's keys: %w", err)
	}
	keys := make(map[string]*mvccpb.KeyValue, len(response.Kvs))
	for _, kv := range response.Kvs {
		keys[string(kv.Key)] = kv
	}
	return keys, nil
}

// values reads keys; one that has gone meanwhile is missing in the result.
func (s store) values(ctx context.Context, keys []string) (map[string]*mvccpb.KeyValue, error) {
	found := make(map[string]*mvccpb.KeyValue, len(keys))
	for len(keys) > 0 {
		count := min(readsAtOnce, len(keys))
		reads := make([]clientv3.Op, count)
		for i, key := range keys[:count] {
			reads[i] = clientv3.OpGet(key)
		}
		response, err := s.client.Txn(ctx).Then(reads...).Commit()
		if err != nil {
			return nil, fmt.Errorf("read values of etcd: %w", err)
		}
		for _, read := range response.Responses {
			for _, kv := range read.GetResponseRange().Kvs {
				found[string(kv.Key)] = kv
			}
		}
		keys = keys[count:]
	}
	return found, nil
}

// forget removes versions that no key had any more at a revision: etcd keeps
// them until an API server has it forget them, after five minutes. A watch that
// has not come up to the revision breaks, and its watcher reads everything anew.
func (s store) forget(ctx context.Context, revision int64) error {
	_, err := s.client.Compact(ctx, revision, clientv3.WithCompactPhysical())
	if err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
		return fmt.Errorf("compact etcd: %w", err)
	}
	if _, err := s.client.Put(ctx, compacted, strconv.FormatInt(revision, 10)); err != nil {
		return fmt.Errorf("tell the API servers what etcd has forgotten: %w", err)
	}
	return s.shrink(ctx)
}

// shrink gives room back that a suite took by its size. etcd answers nobody
// meanwhile, so what it will fill again soon stays.
func (s store) shrink(ctx context.Context) error {
	var failures []error
	for _, endpoint := range s.client.Endpoints() {
		// It listens on one of the loopback addresses.
		status, err := s.status(ctx, endpoint)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		if status.DbSize-status.DbSizeInUse < roomToGiveBack {
			return nil
		}
		if _, err := s.client.Defragment(ctx, endpoint); err != nil {
			return fmt.Errorf("shrink etcd on %s: %w", endpoint, err)
		}
		return nil
	}
	return fmt.Errorf("look at etcd: %w", errors.Join(failures...))
}

func (s store) status(ctx context.Context, endpoint string) (*clientv3.StatusResponse, error) {
	ctx, stop := context.WithTimeout(ctx, time.Second)
	defer stop()
	return s.client.Status(ctx, endpoint)
}

// write carries operations out, many at a time. Each is a request of its own: an
// API server takes it for granted that no two changes have the same revision.
func (s store) write(ctx context.Context, operations []clientv3.Op) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(writesAtOnce)
	for _, operation := range operations {
		group.Go(func() error {
			if _, err := s.client.Do(ctx, operation); err != nil {
				return fmt.Errorf("write %s: %w", operation.KeyBytes(), err)
			}
			return nil
		})
	}
	return group.Wait()
}
