package entrypoint

import (
	"context"
	"crypto/tls"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// lateDir holds the files of each stage, in folders numbered from 0.
const lateDir = "/mayfly/late"

const (
	lookEvery = 10 * time.Millisecond
	// What never comes must not keep its own diagnosis from coming: the other
	// components tell more than their absence.
	releaseAfter = 30 * time.Second
)

// stage is a set of files that wait for somebody to listen.
type stage struct {
	Files   []string `json:"files"`
	Address string   `json:"address"`
	// TLS asks for a handshake as well: the API server takes connections
	// long before it serves any.
	TLS bool `json:"tls"`
}

// RunLateFiles puts the late files in their places, stage by stage. What cannot
// do anything before somebody else listens would only take processor time from
// that one, or fail and wait before it tries again.
func RunLateFiles(ctx context.Context, _ []string) error {
	wanted, err := readNodeDocument()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, releaseAfter)
	defer cancel()
	for i, s := range wanted.Late {
		s.wait(ctx)
		if err := moveTree(filepath.Join(lateDir, strconv.Itoa(i)), "/"); err != nil {
			return err
		}
	}
	return os.RemoveAll(lateDir)
}

// wait returns when somebody listens, or when the context ends.
func (s stage) wait(ctx context.Context) {
	for !s.answers(ctx) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(lookEvery):
		}
	}
}

func (s stage) answers(ctx context.Context) bool {
	connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.Address)
	if err != nil {
		return false
	}
	defer connection.Close()
	if !s.TLS {
		return true
	}
	// Who it is does not matter here, only that it answers.
	return tls.Client(connection, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(ctx) == nil
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
