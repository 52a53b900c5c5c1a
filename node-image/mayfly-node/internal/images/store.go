// Package images puts images into containerd's store without unpacking them:
// each layer is a directory that exists already and is only ever linked to.
package images

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
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

// Store is the part of containerd that an image lives in, whether it is reached
// through a daemon's socket or opened as files.
type Store struct {
	Content   content.Store
	Images    images.Store
	Snapshots snapshots.Snapshotter
}

// Layer is one directory of an image and the digest and size of its
// uncompressed tar stream. The stream itself is never stored.
type Layer struct {
	Dir    string        `json:"dir"`
	DiffID digest.Digest `json:"diffID"`
	Size   int64         `json:"size"`
}

// link makes the directory of a snapshot in preparation stand for a layer.
type link func(snapshotDir string, layer Layer) error

// register makes an image of layers that lie on disk and a configuration.
// Everything it needs is there before the image record appears, so an image
// that is listed is one that runs.
func (s Store) register(ctx context.Context, name string, config []byte, layers []Layer, pin bool, link link) (digest.Digest, error) {
	chain, err := s.prepareSnapshots(ctx, layers, link)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	configDigest := digest.FromBytes(config)
	manifest := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: configDigest, Size: int64(len(config))},
	}
	for _, layer := range layers {
		manifest.Layers = append(manifest.Layers, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: layer.DiffID, Size: layer.Size})
	}
	manifestJSON, err := json.Marshal(manifest)
	if err != nil {
		return "", err
	}
	target := ocispec.Descriptor{MediaType: manifest.MediaType, Digest: digest.FromBytes(manifestJSON), Size: int64(len(manifestJSON))}
	configLabels := map[string]string{}
	if chain != "" {
		configLabels[refSnapshot] = chain.String()
	}
	if err := s.write(ctx, manifest.Config, config, configLabels); err != nil {
		return "", err
	}
	if err := s.write(ctx, target, manifestJSON, map[string]string{refContent + ".config": configDigest.String()}); err != nil {
		return "", err
	}
	labels := map[string]string{managedLabel: managed}
	if pin {
		labels[pinnedLabel] = pinned
	}
	// The runtime interface looks an image up by its id, the configuration's digest, too.
	for _, record := range []string{name, configDigest.String()} {
		if err := s.record(ctx, images.Image{Name: record, Target: target, Labels: labels}); err != nil {
			return "", err
		}
	}
	return configDigest, nil
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
func (s Store) prepareSnapshots(ctx context.Context, layers []Layer, link link) (digest.Digest, error) {
	var diffIDs []digest.Digest
	var parent digest.Digest
	for _, layer := range layers {
		diffIDs = append(diffIDs, layer.DiffID)
		chain := identity.ChainID(diffIDs)
		if err := s.prepareSnapshot(ctx, chain, parent, layer, link); err != nil {
			return "", fmt.Errorf("layer %s: %w", layer.DiffID, err)
		}
		parent = chain
	}
	return parent, nil
}

func (s Store) prepareSnapshot(ctx context.Context, chain, parent digest.Digest, layer Layer, link link) error {
	if _, err := s.Snapshots.Stat(ctx, chain.String()); err == nil {
		return nil
	}
	key := "mayfly-" + chain.Encoded()
	mounts, err := s.Snapshots.Prepare(ctx, key, parent.String())
	if err != nil {
		return err
	}
	dir, err := upperDir(mounts)
	if err != nil {
		return err
	}
	if err := link(dir, layer); err != nil {
		return err
	}
	err = s.Snapshots.Commit(ctx, chain.String(), key)
	if errdefs.IsAlreadyExists(err) { // another registration was faster
		return s.Snapshots.Remove(ctx, key)
	}
	return err
}

// upperDir finds the one writable directory that a snapshot in preparation has.
func upperDir(mounts []mount.Mount) (string, error) {
	if len(mounts) == 1 {
		if mounts[0].Type == "bind" {
			return mounts[0].Source, nil
		}
		for _, option := range mounts[0].Options {
			if dir, found := strings.CutPrefix(option, "upperdir="); found {
				return dir, nil
			}
		}
	}
	return "", fmt.Errorf("the %s snapshotter gave no writable directory: %v", Snapshotter, mounts)
}
