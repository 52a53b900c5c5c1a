package images

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
)

// wanted is an image that a node should have.
type wanted struct {
	// Names are full references, as the runtime interface looks them up.
	Names []string `json:"names"`
	// IDs are digests of its configuration, manifest or index; one is enough to know it by.
	IDs []digest.Digest `json:"ids"`
	// DiffIDs of its layers, bottom up, where they are known.
	DiffIDs []digest.Digest `json:"diffIDs"`
}

type presentRequest struct {
	Images []wanted `json:"images"`
}

type presentAnswer struct {
	Images []presence `json:"images"`
	// Layers of this node by the name of the archive entry that they came in.
	Entries map[string]digest.Digest `json:"entries"`
}

type presence struct {
	Present bool `json:"present"`
	// Have are those of the image's layers that need not be sent.
	Have []digest.Digest `json:"have"`
}

// present tells which images this node has, and what it has of the others. An
// image that only lacks a name is given it.
func (d daemon) present(ctx context.Context, request presentRequest) (presentAnswer, error) {
	listed, err := d.catalogue(ctx)
	if err != nil {
		return presentAnswer{}, err
	}
	layers, err := d.layers(ctx)
	if err != nil {
		return presentAnswer{}, err
	}
	answer := presentAnswer{Entries: layers.entries}
	for _, image := range request.Images {
		present, err := d.ensureNames(ctx, listed, layers, image)
		if err != nil {
			return presentAnswer{}, err
		}
		answer.Images = append(answer.Images, presence{Present: present, Have: layers.have(image.DiffIDs)})
	}
	return answer, nil
}

// catalogue is the node's images by name, and by each digest that one is known by.
type catalogue struct {
	named map[string]images.Image
	byID  map[digest.Digest]images.Image
}

func (s Store) catalogue(ctx context.Context) (catalogue, error) {
	list, err := s.Images.List(ctx)
	if err != nil {
		return catalogue{}, err
	}
	known := catalogue{named: map[string]images.Image{}, byID: map[digest.Digest]images.Image{}}
	for _, image := range list {
		known.named[image.Name] = image
		known.byID[image.Target.Digest] = image
		// The runtime interface lists each image under its configuration's digest as well.
		if id := digest.Digest(image.Name); id.Validate() == nil {
			known.byID[id] = image
		}
		if id := image.Labels[engineIDLabel]; id != "" {
			known.byID[digest.Digest(id)] = image
		}
	}
	return known, nil
}

// ensureNames tells whether an image is here, and gives it the names that it lacks.
func (s Store) ensureNames(ctx context.Context, listed catalogue, layers layerIndex, want wanted) (bool, error) {
	at := slices.IndexFunc(want.IDs, func(id digest.Digest) bool {
		_, known := listed.byID[id]
		return known
	})
	// Without its snapshot an image would be unpacked only when a pod starts, from layers that are not here.
	if at < 0 || len(want.DiffIDs) > 0 && !layers.chains[identity.ChainID(want.DiffIDs)] {
		return false, nil
	}
	image := listed.byID[want.IDs[at]]
	for _, name := range want.Names {
		if listed.named[name].Target.Digest == image.Target.Digest {
			continue
		}
		record := images.Image{Name: name, Target: image.Target, Labels: maps.Clone(image.Labels)}
		if record.Labels == nil {
			record.Labels = map[string]string{}
		}
		record.Labels[managedLabel] = managed
		if err := s.record(ctx, record); err != nil {
			return false, err
		}
	}
	return true, nil
}

// layerIndex is what this node has of layers.
type layerIndex struct {
	chains  map[digest.Digest]bool
	byDiff  map[digest.Digest]snapshotLayer
	entries map[string]digest.Digest
}

// snapshotLayer is a snapshot whose own layer is known, the size of that layer's
// stream, and the directory that it links to, if it does.
type snapshotLayer struct {
	name string
	size int64
	link string
}

func (s Store) layers(ctx context.Context) (layerIndex, error) {
	index := layerIndex{chains: map[digest.Digest]bool{}, byDiff: map[digest.Digest]snapshotLayer{}, entries: map[string]digest.Digest{}}
	err := s.Snapshots.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		if info.Kind != snapshots.KindCommitted || !strings.HasPrefix(info.Name, "sha256:") {
			return nil
		}
		index.chains[digest.Digest(info.Name)] = true
		if diffID := digest.Digest(info.Labels[diffIDLabel]); diffID != "" {
			size, _ := strconv.ParseInt(info.Labels[sizeLabel], 10, 64) // only for show
			index.byDiff[diffID] = snapshotLayer{info.Name, size, info.Labels[linkLabel]}
			if entry := info.Labels[entryLabel]; entry != "" {
				index.entries[entry] = diffID
			}
		} else if info.Parent == "" { // a bottom layer is its own chain
			index.byDiff[digest.Digest(info.Name)] = snapshotLayer{name: info.Name}
		}
		return nil
	})
	return index, err
}

// have lists the layers that are here: a chain from the bottom, or by themselves in another image.
func (index layerIndex) have(diffIDs []digest.Digest) []digest.Digest {
	have := []digest.Digest{}
	for at, diffID := range diffIDs {
		_, elsewhere := index.byDiff[diffID]
		if elsewhere || index.chains[identity.ChainID(diffIDs[:at+1])] {
			have = append(have, diffID)
		}
	}
	return have
}
