package images

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
)

const (
	containerdRoot = "/var/lib/containerd"
	// sharedRoot is a volume that all nodes of a cluster have (src/images/shared-layers.ts).
	sharedRoot = "/mayfly/layers"
	// planEntry ends the stream, so a stream without it was cut off.
	planEntry = "mayfly.json"
)

// importAnswer is what a node that imported images tells the others: with the
// directories of the layers they need nothing else.
type importAnswer struct {
	Images []Image `json:"images"`
}

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
//
// Where the nodes of the cluster share a volume the directories are there, and
// this node links to them as the others can.
func RunImport(ctx context.Context, _ []string) error {
	root := containerdRoot
	if info, err := os.Stat(sharedRoot); err == nil && info.IsDir() {
		root = sharedRoot
	}
	return withDaemon(ctx, func(ctx context.Context, d daemon) error {
		return withSpool(root, func(spool string) error {
			received, plan, err := receive(ctx, newReadAhead(os.Stdin), spool)
			if err != nil {
				return err
			}
			return d.leased(ctx, func(ctx context.Context, store Store) error {
				made, err := store.build(ctx, received, plan, placement{spool, root == sharedRoot})
				if err != nil {
					return err
				}
				return json.NewEncoder(os.Stdout).Encode(importAnswer{made})
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

// receive unpacks every layer of the stream and returns the plan at its end.
func receive(ctx context.Context, from io.Reader, spool string) (map[string]*unpacked, importPlan, error) {
	var plan importPlan
	received := map[string]*unpacked{}
	stream := tar.NewReader(from)
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
func (s Store) build(ctx context.Context, received map[string]*unpacked, plan importPlan, place placement) ([]Image, error) {
	layers, err := s.layers(ctx)
	if err != nil {
		return nil, err
	}
	arrived := map[digest.Digest]*unpacked{}
	for _, layer := range received {
		arrived[layer.diffID] = layer
	}
	fill := func(to slot, layer Layer) error {
		if sent, known := arrived[layer.DiffID]; known {
			return place.put(sent, to)
		}
		if snapshot, known := layers.byDiff[layer.DiffID]; known {
			return s.cloneLayer(ctx, snapshot.name, to.dir)
		}
		return errors.New("neither in the stream nor on this node")
	}
	planned := make([]Image, len(plan.Images))
	for i, image := range plan.Images {
		if planned[i], err = image.of(received, layers); err != nil {
			return nil, err
		}
	}
	var made []registered
	for _, image := range planned {
		ready, err := s.assemble(ctx, image, fill)
		if err != nil {
			return nil, err
		}
		made = append(made, ready)
	}
	for i, image := range made {
		if err := s.publish(ctx, image); err != nil {
			return nil, err
		}
		if err := s.findLinks(ctx, planned[i].Layers); err != nil {
			return nil, err
		}
	}
	return planned, nil
}

// of makes an image of what was planned and what arrived.
func (planned plannedImage) of(received map[string]*unpacked, layers layerIndex) (Image, error) {
	image := Image{Names: planned.Names, EngineID: planned.EngineID, Config: planned.Config, Manifest: planned.Manifest}
	for _, layer := range planned.Layers {
		sent, known := received[layer.Entry]
		if known && sent.diffID != layer.DiffID {
			return Image{}, fmt.Errorf("layer %s: the image's configuration promises %s, the archive has %s", layer.Entry, layer.DiffID, sent.diffID)
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
	return image, nil
}

// findLinks tells of an image's layers the directories that this node links to.
func (s Store) findLinks(ctx context.Context, layers []Layer) error {
	var diffIDs []digest.Digest
	for i, layer := range layers {
		diffIDs = append(diffIDs, layer.DiffID)
		snapshot, err := s.Snapshots.Stat(ctx, identity.ChainID(diffIDs).String())
		if err != nil {
			return err
		}
		layers[i].Dir = snapshot.Labels[linkLabel]
	}
	return nil
}
