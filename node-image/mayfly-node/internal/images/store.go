// Package images puts images into containerd's store. A layer is a directory
// that exists already and is only linked to, or a tar stream that is unpacked as
// it arrives; no layer is ever stored as an archive.
package images

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// Namespace is where the container runtime interface keeps its images.
	Namespace = "k8s.io"
	// Snapshotter is the only one whose snapshots are plain directories.
	Snapshotter = "overlayfs"

	refContent   = "containerd.io/gc.ref.content"
	refSnapshot  = "containerd.io/gc.ref.snapshot." + Snapshotter
	managedLabel = "io.cri-containerd.image"
	managed      = "managed"
	pinnedLabel  = "io.cri-containerd.pinned"
	pinned       = "pinned"
)

// Labels of our own. The image one holds a name by which an engine knows the
// image, the layer ones sit on snapshots.
const (
	engineIDLabel = "io.mayfly.image.engine-id"
	diffIDLabel   = "io.mayfly.layer.diff-id"
	sizeLabel     = "io.mayfly.layer.size"
	entryLabel    = "io.mayfly.layer.archive-entry"
	linkLabel     = "io.mayfly.layer.link" // the directory that the snapshot's own is a link to
)

// Store is the part of containerd that an image lives in, whether it is reached
// through a daemon's socket or opened as files.
type Store struct {
	Content   content.Store
	Images    images.Store
	Snapshots snapshots.Snapshotter
	// claim tells snapshots that this process prepares from those of others. Empty where there are none.
	claim string
}

// Layer is one directory of an image and the digest of its uncompressed tar
// stream. The stream itself is never stored.
type Layer struct {
	Dir    string        `json:"dir,omitempty"`
	DiffID digest.Digest `json:"diffID"`
	// Size is only for show: of the stream, or of the files in it.
	Size int64 `json:"size"`
	// Entry is the name of the layer in the archive that it came in, if any.
	Entry string `json:"entry,omitempty"`
}

// Image is what an image record and all that it refers to is made of.
type Image struct {
	Names []string `json:"names"`
	// EngineID is the container engine's own id of the image, if it came from one.
	EngineID digest.Digest `json:"engineID,omitempty"`
	Config   []byte        `json:"config"`
	// Manifest is the image's own one. Without it one is written that lists the layers as they are.
	Manifest []byte  `json:"manifest,omitempty"`
	Layers   []Layer `json:"layers"`
	Pinned   bool    `json:"-"`
}

// slot is the empty directory of a snapshot in preparation, and what it will be
// called. The directories below it come nearest first.
type slot struct {
	dir   string
	lower []string
	chain digest.Digest
}

// fill makes the directory of a snapshot in preparation hold a layer.
type fill func(slot, Layer) error

// registered is an image whose parts are all in the store, and not yet listed.
type registered struct {
	image        Image
	configDigest digest.Digest
	target       ocispec.Descriptor
}

// register makes an image of layers and a configuration.
// Everything it needs is there before the image record appears, so an image
// that is listed is one that runs.
func (s Store) register(ctx context.Context, image Image, fill fill) (digest.Digest, error) {
	made, err := s.assemble(ctx, image, fill)
	if err != nil {
		return "", err
	}
	return made.configDigest, s.publish(ctx, made)
}

// assemble puts an image's snapshots, configuration and manifest into the store.
func (s Store) assemble(ctx context.Context, image Image, fill fill) (registered, error) {
	chain, err := s.prepareSnapshots(ctx, image.Layers, fill)
	if err != nil {
		return registered{}, err
	}
	config := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(image.Config), Size: int64(len(image.Config))}
	manifest, mediaType, err := image.manifest(config)
	if err != nil {
		return registered{}, err
	}
	target := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(manifest), Size: int64(len(manifest))}
	configLabels := map[string]string{}
	if chain != "" {
		configLabels[refSnapshot] = chain.String()
	}
	if err := s.write(ctx, config, image.Config, configLabels); err != nil {
		return registered{}, err
	}
	if err := s.write(ctx, target, manifest, map[string]string{refContent + ".config": config.Digest.String()}); err != nil {
		return registered{}, err
	}
	return registered{image, config.Digest, target}, nil
}

// manifest gives the image's own manifest, or one that names the layers by
// their uncompressed streams, and its media type.
func (image Image) manifest(config ocispec.Descriptor) ([]byte, string, error) {
	if image.Manifest != nil {
		var own ocispec.Manifest
		if err := json.Unmarshal(image.Manifest, &own); err != nil {
			return nil, "", err
		}
		if own.Config.Digest != config.Digest {
			return nil, "", fmt.Errorf("the manifest is of another image: it names configuration %s, not %s", own.Config.Digest, config.Digest)
		}
		if own.MediaType == "" {
			own.MediaType = ocispec.MediaTypeImageManifest
		}
		return image.Manifest, own.MediaType, nil
	}
	manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: config}
	for _, layer := range image.Layers {
		manifest.Layers = append(manifest.Layers, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: layer.DiffID, Size: layer.Size})
	}
	raw, err := json.Marshal(manifest)
	return raw, manifest.MediaType, err
}

// publish makes an image visible under its names.
func (s Store) publish(ctx context.Context, made registered) error {
	labels := map[string]string{managedLabel: managed}
	if made.image.Pinned {
		labels[pinnedLabel] = pinned
	}
	if made.image.EngineID != "" {
		labels[engineIDLabel] = made.image.EngineID.String()
	}
	// The runtime interface looks an image up by its id, the configuration's digest, too.
	for _, name := range append([]string{made.configDigest.String()}, made.image.Names...) {
		if err := s.record(ctx, images.Image{Name: name, Target: made.target, Labels: labels}); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (s Store) record(ctx context.Context, image images.Image) error {
	_, err := s.Images.Create(ctx, image)
	if errdefs.IsAlreadyExists(err) {
		_, err = s.Images.Update(ctx, image)
	}
	return err
}

func (s Store) write(ctx context.Context, desc ocispec.Descriptor, blob []byte, labels map[string]string) error {
	ref := "mayfly-" + desc.Digest.Encoded()
	err := content.WriteBlob(ctx, s.Content, ref, bytes.NewReader(blob), desc, content.WithLabels(labels))
	if err != nil {
		return fmt.Errorf("write %s: %w", desc.Digest, err)
	}
	// A blob that was there already keeps its old labels, and so might be collected.
	info := content.Info{Digest: desc.Digest, Labels: labels}
	for label := range labels {
		if _, err := s.Content.Update(ctx, info, "labels."+label); err != nil {
			return err
		}
	}
	return nil
}

// prepareSnapshots commits one snapshot a layer, bottom up, each named by the
// chain of diff ids below it (the name under which containerd looks for it).
func (s Store) prepareSnapshots(ctx context.Context, layers []Layer, fill fill) (digest.Digest, error) {
	var diffIDs []digest.Digest
	var parent digest.Digest
	for _, layer := range layers {
		diffIDs = append(diffIDs, layer.DiffID)
		chain := identity.ChainID(diffIDs)
		if err := s.prepareSnapshot(ctx, chain, parent, layer, fill); err != nil {
			return "", fmt.Errorf("layer %s: %w", layer.DiffID, err)
		}
		parent = chain
	}
	return parent, nil
}

func (s Store) prepareSnapshot(ctx context.Context, chain, parent digest.Digest, layer Layer, fill fill) error {
	if _, err := s.Snapshots.Stat(ctx, chain.String()); err == nil {
		return nil
	}
	key := "mayfly-" + s.claim + chain.Encoded()
	mounts, err := s.Snapshots.Prepare(ctx, key, parent.String())
	if err != nil {
		return err
	}
	dir, lower, err := directories(mounts)
	if err == nil {
		err = fill(slot{dir, lower, chain}, layer)
	}
	if err != nil {
		return errors.Join(err, s.Snapshots.Remove(context.WithoutCancel(ctx), key))
	}
	labels := map[string]string{diffIDLabel: layer.DiffID.String(), sizeLabel: strconv.FormatInt(layer.Size, 10)}
	if layer.Entry != "" {
		labels[entryLabel] = layer.Entry
	}
	if target, err := os.Readlink(dir); err == nil {
		labels[linkLabel] = target
	}
	err = s.Snapshots.Commit(ctx, chain.String(), key, snapshots.WithLabels(labels))
	if errdefs.IsAlreadyExists(err) { // another registration was faster
		return s.Snapshots.Remove(ctx, key)
	}
	return err
}

// directories finds the one writable directory that a snapshot in preparation
// has, and those below it, nearest first.
func directories(mounts []mount.Mount) (upper string, lower []string, err error) {
	if len(mounts) == 1 {
		if mounts[0].Type == "bind" {
			return mounts[0].Source, nil, nil
		}
		for _, option := range mounts[0].Options {
			if dir, found := strings.CutPrefix(option, "upperdir="); found {
				upper = dir
			} else if dirs, found := strings.CutPrefix(option, "lowerdir="); found {
				lower = strings.Split(dirs, ":")
			}
		}
	}
	if upper == "" {
		return "", nil, fmt.Errorf("the %s snapshotter gave no writable directory: %v", Snapshotter, mounts)
	}
	return upper, lower, nil
}
