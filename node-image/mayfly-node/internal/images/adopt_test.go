package images

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func must[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// archived is a layer as registries have it: a compressed tar archive.
func archived(t *testing.T, files map[string]string) (compressed []byte, diffID digest.Digest) {
	t.Helper()
	var plain, packed bytes.Buffer
	archive := tar.NewWriter(&plain)
	for name, text := range files {
		if err := archive.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		must(archive.Write([]byte(text)))(t)
	}
	archive.Close()
	zip := gzip.NewWriter(&packed)
	must(zip.Write(plain.Bytes()))(t)
	zip.Close()
	return packed.Bytes(), digest.FromBytes(plain.Bytes())
}

func blob(t *testing.T, ctx context.Context, store Store, mediaType string, bytesOf []byte) ocispec.Descriptor {
	t.Helper()
	desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(bytesOf), Size: int64(len(bytesOf))}
	if err := content.WriteBlob(ctx, store.Content, desc.Digest.String(), bytes.NewReader(bytesOf), desc); err != nil {
		t.Fatal(err)
	}
	return desc
}

func asJSON(t *testing.T, value any) []byte {
	t.Helper()
	return must(json.Marshal(value))(t)
}

// fetched writes an image as `ctr content fetch` leaves it: an index for two
// platforms, with the content of one, and nothing unpacked.
func fetched(t *testing.T, ctx context.Context, store Store, names []string, layers ...map[string]string) []digest.Digest {
	t.Helper()
	var manifest ocispec.Manifest
	var diffIDs []digest.Digest
	for _, files := range layers {
		compressed, diffID := archived(t, files)
		diffIDs = append(diffIDs, diffID)
		manifest.Layers = append(manifest.Layers, blob(t, ctx, store, ocispec.MediaTypeImageLayerGzip, compressed))
	}
	here := ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}
	config := ocispec.Image{Platform: here, RootFS: ocispec.RootFS{Type: "layers", DiffIDs: diffIDs}}
	manifest.Versioned, manifest.MediaType = specs.Versioned{SchemaVersion: 2}, ocispec.MediaTypeImageManifest
	manifest.Config = blob(t, ctx, store, ocispec.MediaTypeImageConfig, asJSON(t, config))
	target := blob(t, ctx, store, ocispec.MediaTypeImageManifest, asJSON(t, manifest))
	target.Platform = &here
	elsewhere := ocispec.Descriptor{
		MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("elsewhere"), Size: 1,
		Platform: &ocispec.Platform{OS: "linux", Architecture: "s390x"},
	}
	index := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{elsewhere, target}}
	index.SchemaVersion = 2
	root := blob(t, ctx, store, ocispec.MediaTypeImageIndex, asJSON(t, index))
	for _, name := range names {
		must(store.Images.Create(ctx, images.Image{Name: name, Target: root, Labels: map[string]string{pinnedLabel: pinned}}))(t)
	}
	return diffIDs
}

// What a node image's store becomes has to be one that a node can start from.
func TestAnAdoptedStoreHasEveryImageUnpacked(t *testing.T) {
	ctx := namespaces.WithNamespace(t.Context(), Namespace)
	root, output, layers, node := filepath.Join(t.TempDir(), "containerd"), t.TempDir(), t.TempDir(), t.TempDir()
	base := map[string]string{"etc/os": "base"}
	var one, two []digest.Digest
	err := withOfflineStore(ctx, root, func(store Store) error {
		one = fetched(t, ctx, store, []string{"example.test/one:1", "example.test/one@sha256:1"}, base, map[string]string{"bin/one": "1"})
		fetched(t, ctx, store, []string{"example.test/pause:3.10"}, map[string]string{"pause": "nothing"})
		two = fetched(t, ctx, store, []string{"example.test/two:1"}, base, map[string]string{"bin/two": "2"})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}

	if err := RunAdopt(t.Context(), []string{"-root", root, "-output", output, "-layers", layers}); err != nil {
		t.Fatal(err)
	}

	if _, err := os.Stat(root); !os.IsNotExist(err) {
		t.Errorf("the archives are still there: %v", err)
	}
	if err := Install(output, node, func(dir string) string { return dir }); err != nil {
		t.Fatal(err)
	}
	if lent := must(os.ReadFile(filepath.Join(layers, "pause/pause")))(t); string(lent) != "nothing" {
		t.Errorf("the engine would run %q to hold images", lent)
	}
	err = withOfflineStore(ctx, node, func(store Store) error {
		for _, name := range []string{"example.test/one:1", "example.test/one@sha256:1", "example.test/two:1"} {
			image := must(store.Images.Get(ctx, name))(t)
			if image.Labels[pinnedLabel] != pinned {
				t.Errorf("%s may be collected", name)
			}
			must(images.Manifest(ctx, store.Content, image.Target, nil))(t)
		}
		for _, diffIDs := range [][]digest.Digest{one, two} {
			must(store.Snapshots.Stat(ctx, identity.ChainID(diffIDs).String()))(t)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"etc/os", "bin/one", "bin/two"} {
		if found := must(filepath.Glob(filepath.Join(node, snapshotDir, "snapshots/*/fs", file)))(t); len(found) == 0 {
			t.Errorf("no snapshot has %s", file)
		}
	}
}

func TestAnImageThatStaysPackedIsCopiedWhole(t *testing.T) {
	ctx := namespaces.WithNamespace(t.Context(), Namespace)
	name := "example.test/packed:1"
	err := withOfflineStore(ctx, t.TempDir(), func(from Store) error {
		fetched(t, ctx, from, []string{name}, map[string]string{"file": "text"})
		return withOfflineStore(ctx, t.TempDir(), func(to Store) error {
			if err := copyPacked(ctx, from, to, must(from.Images.List(ctx))(t)); err != nil {
				return err
			}
			target := must(to.Images.Get(ctx, name))(t).Target
			manifest := must(images.Manifest(ctx, to.Content, target, platforms.Default()))(t)
			for _, part := range append(manifest.Layers, manifest.Config) {
				must(content.ReadBlob(ctx, to.Content, part))(t)
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
}
