// Package factory is a part of Kubernetes' package of that name: the build of
// the node image puts this file beside etcd3.go (src/node-image/kubernetes-changes.ts).
//
// The API server opens a connection to etcd for each resource, 69 at its start
// and one more for each CRD, with a TLS handshake, a handful of goroutines and
// buffers on either side. Here all resources share one. Each keeps a watcher of
// its own, and with that a stream of its own: no resource waits for another's
// events.
package factory

import (
	"fmt"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"k8s.io/apiserver/pkg/storage/storagebackend"
)

func init() {
	newETCD3Client = sharingConnections(newETCD3Client)
}

type connect = func(storagebackend.TransportConfig) (*kubernetes.Client, error)

// sharingConnections connects once to each set of servers.
func sharingConnections(connect connect) connect {
	var lock sync.Mutex
	connected := map[string]*kubernetes.Client{}
	return func(config storagebackend.TransportConfig) (*kubernetes.Client, error) {
		lock.Lock()
		defer lock.Unlock()
		key := fmt.Sprintf("%v", config)
		shared, known := connected[key]
		if !known {
			var err error
			if shared, err = connect(config); err != nil {
				return nil, err
			}
			connected[key] = shared
		}
		return clientOver(shared)
	}
}

// clientOver is a client that may be closed, which leaves the connection to
// others. Its own would be made on first use, and is not used.
func clientOver(shared *kubernetes.Client) (*kubernetes.Client, error) {
	client, err := kubernetes.New(clientv3.Config{
		Endpoints: shared.Endpoints(),
		Logger:    etcd3ClientLogger,
	})
	if err != nil {
		return nil, err
	}
	client.Cluster = clientv3.NewCluster(shared.Client)
	client.KV = clientv3.NewKV(shared.Client)
	client.Lease = clientv3.NewLease(shared.Client)
	client.Watcher = clientv3.NewWatcher(shared.Client)
	client.Auth = clientv3.NewAuth(shared.Client)
	client.Maintenance = clientv3.NewMaintenance(shared.Client)
	return client, nil
}
