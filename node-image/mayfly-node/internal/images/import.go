package images

import (
	"archive/tar"
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

const (
	containerdRoot = "/var/lib/containerd"
	// planEntry ends the stream, so a stream without it was cut off.
	planEntry = "mayfly.json"
)

// importPlan is the last entry of the stream: the images, and which entries
// before it are their layers.
type importPlan struct {
	Images []plannedImage `json:"images"`
}

type plannedImage struct {
	Names    []string       `json:"names"`
	EngineID digest.Digest  `json:"engineID"`
	Config   []byte         `json:"config"`
	Manifest []byte         `json:"manifest"`
	Layers   []plannedLayer `json:"layers"`
}

type plannedLayer struct {
	DiffID digest.Digest `json:"diffID"`
	Entry  string        `json:"entry"`
	// Remember says that the entry's name tells its content, so that it need not be sent again.
	Remember bool `json:"remember"`
}

// RunImport makes images of the tar stream on standard input: layers, compressed
// or not and in any order, then the plan. Each layer is unpacked as it arrives,
// into a directory of its own that becomes a snapshot at the end. Layers that
// the node has may be left out. A failed import leaves the store as it was.
func RunImport(ctx context.Context, _ []string) error {
	return withDaemon(ctx, func(ctx context.Context, d daemon) error {
		return withSpool(func(spool string) error {
			received, plan, err := receive(ctx, os.Stdin, spool)
			if err != nil {
				return err
			}
			return d.leased(ctx, func(ctx context.Context, store Store) error {
				return store.build(ctx, received, plan)
			})
		})
	})
}

// unpacked is a layer that arrived.
type unpacked struct {
	dir      string
	diffID   digest.Digest
	size     int64
	implicit []string
}

// withSpool gives a directory beside the snapshots, so that what is in it can be
// moved there, and removes those that killed imports left.
func withSpool(use func(spool string) error) (err error) {
	left, err := filepath.Glob(filepath.Join(containerdRoot, "mayfly-import-*"))
	if err != nil {
		return err
	}
	for _, dir := range left {
		if lock, err := lockDirectory(dir); err == nil {
			_ = os.RemoveAll(dir)
			lock.Close()
		}
	}
	spool, err := os.MkdirTemp(containerdRoot, "mayfly-import-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(spool)) }()
	lock, err := lockDirectory(spool)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err = use(spool); errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("%w (%s)", err, room(spool))
	}
	return err
}

func lockDirectory(dir string) (*os.File, error) {
	file, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// receive unpacks every layer of the stream and returns the plan at its end.
func receive(ctx context.Context, from io.Reader, spool string) (map[string]*unpacked, importPlan, error) {
	var plan importPlan
	received := map[string]*unpacked{}
	stream := tar.NewReader(bufio.NewReaderSize(from, 1<<20))
	for {
		header, err := stream.Next()
		if err == io.EOF {
			return nil, plan, fmt.Errorf("the stream ended before the plan: %w", io.ErrUnexpectedEOF)
		}
		if err != nil {
			return nil, plan, err
		}
		if header.Name == planEntry {
			if err := json.NewDecoder(stream).Decode(&plan); err != nil {
				return nil, plan, fmt.Errorf("%s: %w", planEntry, err)
			}
			// Whoever writes the stream must not meet a closed pipe.
			_, err := io.Copy(io.Discard, from)
			return received, plan, err
		}
		dir := filepath.Join(spool, strconv.Itoa(len(received)))
		layer, err := unpack(ctx, stream, dir)
		if err != nil {
			return nil, plan, fmt.Errorf("layer %s: %w", header.Name, err)
		}
		received[header.Name] = layer
	}
}

// unpack turns a layer's stream into the directory that the overlay file system
// wants: deleted files as devices, opaque directories by attribute.
func unpack(ctx context.Context, from io.Reader, dir string) (*unpacked, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	plain, err := compression.DecompressStream(from)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	digester := digest.Canonical.Digester()
	teed := io.TeeReader(plain, digester.Hash())
	parents := implicitParents{}
	_, err = archive.Apply(ctx, dir, teed, archive.WithConvertWhiteout(archive.OverlayConvertWhiteout), archive.WithFilter(parents.note))
	if err != nil {
		return nil, err
	}
	// What follows the end marker belongs to the digest.
	if _, err := io.Copy(io.Discard, teed); err != nil {
		return nil, err
	}
	size, err := directorySize(dir)
	if err != nil {
		return nil, err
	}
	return &unpacked{dir: dir, diffID: digester.Digest(), size: size, implicit: parents.list()}, nil
}

// build makes the images of a plan. Their records appear only when all are complete.
func (s Store) build(ctx context.Context, received map[string]*unpacked, plan importPlan) error {
	layers, err := s.layers(ctx)
	if err != nil {
		return err
	}
	arrived := map[digest.Digest]*unpacked{}
	for _, layer := range received {
		arrived[layer.diffID] = layer
	}
	var made []registered
	for _, planned := range plan.Images {
		image := Image{Names: planned.Names, EngineID: planned.EngineID, Config: planned.Config, Manifest: planned.Manifest}
		for _, layer := range planned.Layers {
			sent, known := received[layer.Entry]
			if known && sent.diffID != layer.DiffID {
				return fmt.Errorf("layer %s: the image's configuration promises %s, the archive has %s", layer.Entry, layer.DiffID, sent.diffID)
			}
			used := Layer{DiffID: layer.DiffID, Size: layers.byDiff[layer.DiffID].size}
			if known {
				used.Size = sent.size
			}
			if layer.Remember {
				used.Entry = layer.Entry
			}
			image.Layers = append(image.Layers, used)
		}
		ready, err := s.assemble(ctx, image, func(dir string, lower []string, layer Layer) error {
			if sent, known := arrived[layer.DiffID]; known {
				return sent.moveTo(dir, lower)
			}
			if snapshot, known := layers.byDiff[layer.DiffID]; known {
				return s.cloneLayer(ctx, snapshot.name, dir)
			}
			return errors.New("neither in the stream nor on this node")
		})
		if err != nil {
			return err
		}
		made = append(made, ready)
	}
	for _, image := range made {
		if err := s.publish(ctx, image); err != nil {
			return err
		}
	}
	return nil
}

// moveTo makes a snapshot's directory of an unpacked layer. Where one layer lies
// on different ones below, the next snapshot has to be a clone.
func (layer *unpacked) moveTo(snapshotDir string, lower []string) error {
	if layer.implicit != nil {
		if err := inheritAttributes(layer.dir, layer.implicit, lower); err != nil {
			return err
		}
	}
	if strings.HasPrefix(layer.dir, containerdRoot+"/mayfly-import-") {
		if err := os.Remove(snapshotDir); err != nil {
			return err
		}
		if err := os.Rename(layer.dir, snapshotDir); err != nil {
			return err
		}
		layer.dir = snapshotDir
		return nil
	}
	return cloneDirectory(layer.dir, snapshotDir)
}

// room says how full the file system of the spool is.
func room(spool string) string {
	var stat unix.Statfs_t
	if err := unix.Statfs(spool, &stat); err != nil {
		return err.Error()
	}
	size := uint64(stat.Bsize)
	return fmt.Sprintf("%s has %d MiB in all, %d MiB free", containerdRoot, stat.Blocks*size>>20, stat.Bavail*size>>20)
}
