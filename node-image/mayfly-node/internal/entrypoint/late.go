package entrypoint

import (
	"context"
	"errors"
	"flag"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"
)

// lateDir holds files until the API server listens.
const lateDir = "/mayfly/late"

const (
	lookEvery = 10 * time.Millisecond
	// An API server that never comes must not keep its own diagnosis from
	// coming: the other components tell more than their absence.
	releaseAfter = 30 * time.Second
)

// RunLateFiles puts the late files in their places once the API server listens.
// What cannot do anything before that would only take processor time from
// etcd and the API server while these start.
func RunLateFiles(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("late-files", flag.ContinueOnError)
	address := flags.String("address", "localhost:6443", "where the API server listens")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, releaseAfter)
	defer cancel()
	waitForListener(ctx, *address)
	return moveTree(lateDir, "/")
}

func waitForListener(ctx context.Context, address string) {
	for {
		connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			connection.Close()
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(lookEvery):
		}
	}
}

// moveTree moves every file below from to the same place below to. The kubelet
// watches its manifests, so each appears there whole.
func moveTree(from, to string) error {
	err := filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		return os.Rename(path, filepath.Join(to, name))
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, os.RemoveAll(from))
}
