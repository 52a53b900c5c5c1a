package images

import (
	"context"
	"fmt"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/namespaces"
)

const socket = "/run/containerd/containerd.sock"

// leaseLifetime bounds how long what a killed load left behind stays in the store.
const leaseLifetime = time.Hour

// daemon is the running containerd of this node.
type daemon struct {
	Store
	client *containerd.Client
}

// withDaemon reaches this node's containerd and waits for it where it is still starting.
func withDaemon(ctx context.Context, use func(context.Context, daemon) error) error {
	client, err := containerd.New(socket, containerd.WithTimeout(30*time.Second))
	if err != nil {
		return fmt.Errorf("containerd does not answer on %s: %w", socket, err)
	}
	defer client.Close()
	return use(namespaces.WithNamespace(ctx, Namespace), daemon{
		Store: Store{
			Content:   client.ContentStore(),
			Images:    client.ImageService(),
			Snapshots: client.SnapshotService(Snapshotter),
		},
		client: client,
	})
}

// leased runs work whose snapshots and blobs stay only if an image record refers
// to them at its end; after a failure the store is as it was.
func (d daemon) leased(ctx context.Context, work func(context.Context, Store) error) error {
	lease, err := d.client.LeasesService().Create(ctx, leases.WithRandomID(), leases.WithExpiration(leaseLifetime))
	if err != nil {
		return err
	}
	store := d.Store
	store.claim = lease.ID + "-"
	failure := work(leases.WithLease(ctx, lease.ID), store)
	var options []leases.DeleteOpt
	if failure != nil {
		options = append(options, leases.SynchronousDelete)
	}
	// Also after an interrupt, which has ended ctx.
	if err := d.client.LeasesService().Delete(context.WithoutCancel(ctx), lease, options...); err != nil && failure == nil {
		return err
	}
	return failure
}
