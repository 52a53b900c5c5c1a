package images

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// containerdStore is what containerd keeps of an image of two layers, as an engine's nodes see it.
type containerdStore struct {
	layers, contents          string
	config, manifest, index   []byte
	manifestID, indexID, lost digest.Digest
	records                   *storage.MetaStore
}

func newContainerdStore(t *testing.T) *containerdStore {
	t.Helper()
	dir := t.TempDir()
	store := &containerdStore{layers: filepath.Join(dir, "layers"), contents: filepath.Join(dir, "contents")}
	diffIDs := []digest.Digest{bottom.DiffID, top.DiffID}
	config := ocispec.Image{Platform: platforms.DefaultSpec(), RootFS: ocispec.RootFS{Type: "layers", DiffIDs: diffIDs}}
	store.config = store.put(t, config)
	manifest := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		Config:    ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(store.config), Size: int64(len(store.config))},
		Layers: []ocispec.Descriptor{
			{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: digest.FromString("bottom.gz"), Size: 11},
			{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: digest.FromString("top.gz"), Size: 22},
		},
	}
	store.manifest = store.put(t, manifest)
	store.manifestID = digest.FromBytes(store.manifest)
	here, elsewhere := platforms.DefaultSpec(), ocispec.Platform{OS: "plan9", Architecture: "mips"}
	store.lost = digest.FromString("not fetched")
	store.index = store.put(t, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{
			{MediaType: ocispec.MediaTypeImageManifest, Digest: store.lost, Platform: &elsewhere},
			{MediaType: ocispec.MediaTypeImageManifest, Digest: store.manifestID, Size: int64(len(store.manifest)), Platform: &here},
		},
	})
	store.indexID = digest.FromBytes(store.index)
	if err := os.MkdirAll(store.layers, 0o755); err != nil {
		t.Fatal(err)
	}
	// It stays open, and so locked, as containerd has it.
	records, err := storage.NewMetaStore(filepath.Join(store.layers, "metadata.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = records.Close() })
	store.records = records
	return store
}

func (s *containerdStore) put(t *testing.T, document any) []byte {
	t.Helper()
	blob, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(s.contents, "blobs/sha256", digest.FromBytes(blob).Encoded())
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, blob, 0o444); err != nil {
		t.Fatal(err)
	}
	return blob
}

// unpack records snapshots under the keys, each on the one before, and tells their numbers.
func (s *containerdStore) unpack(t *testing.T, keys ...string) []string {
	t.Helper()
	var ids []string
	err := s.records.WithTransaction(context.Background(), true, func(ctx context.Context) error {
		parent := ""
		for _, key := range keys {
			made, err := storage.CreateSnapshot(ctx, snapshots.KindActive, "being-made", parent)
			if err != nil {
				return err
			}
			if _, err := storage.CommitActive(ctx, "being-made", key, snapshots.Usage{}); err != nil {
				return err
			}
			ids = append(ids, made.ID)
			parent = key
		}
		_, err := storage.CreateSnapshot(ctx, snapshots.KindActive, "moby/99/"+digest.FromString("container").Encoded(), parent)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

func (s *containerdStore) read(id digest.Digest) (Image, error) {
	return readContainerdImage(context.Background(), s.layers, s.contents, "moby", id)
}

func chainKeys(namespace string) []string {
	chain := identity.ChainID([]digest.Digest{bottom.DiffID, top.DiffID})
	return []string{namespace + "/3/" + bottom.DiffID.String(), namespace + "/4/" + chain.String()}
}

func TestContainerdsLayersAreFoundOfAManifestAndOfAnIndex(t *testing.T) {
	store := newContainerdStore(t)
	ids := store.unpack(t, chainKeys("moby")...)
	want := []Layer{
		{Dir: filepath.Join(store.layers, "snapshots", ids[0], "fs"), DiffID: bottom.DiffID, Size: 11},
		{Dir: filepath.Join(store.layers, "snapshots", ids[1], "fs"), DiffID: top.DiffID, Size: 22},
	}
	for name, id := range map[string]digest.Digest{"manifest": store.manifestID, "index": store.indexID} {
		t.Run(name, func(t *testing.T) {
			image, err := store.read(id)
			if err != nil {
				t.Fatal(err)
			}
			if len(image.Layers) != 2 || image.Layers[0] != want[0] || image.Layers[1] != want[1] {
				t.Errorf("layers %v, want %v", image.Layers, want)
			}
			if string(image.Config) != string(store.config) || string(image.Manifest) != string(store.manifest) {
				t.Errorf("configuration %s and manifest %s", image.Config, image.Manifest)
			}
		})
	}
}

func TestContainerdsSnapshotsAreSeenWhileItWritesMore(t *testing.T) {
	store := newContainerdStore(t)
	store.unpack(t, chainKeys("moby")...)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for at := 0; ; at++ {
			select {
			case <-done:
				return
			default:
			}
			err := store.records.WithTransaction(context.Background(), true, func(ctx context.Context) error {
				if _, err := storage.CreateSnapshot(ctx, snapshots.KindActive, "changing", ""); err != nil {
					return err
				}
				_, _, err := storage.Remove(ctx, "changing")
				return err
			})
			if err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for range 50 {
		if image, err := store.read(store.manifestID); err != nil || len(image.Layers) != 2 {
			t.Errorf("%v, %v", image.Layers, err)
		}
	}
	close(done)
	<-ended
}

func TestContainerdsStoreIsNotUsedWhereAnImageIsNotUnpackedInIt(t *testing.T) {
	empty := digest.FromBytes(nil)
	tests := map[string]struct {
		keys   []string
		id     func(*containerdStore) digest.Digest
		reason string
	}{
		"no layer":                  {nil, func(s *containerdStore) digest.Digest { return s.manifestID }, bottom.DiffID.String() + ": the engine has not unpacked it"},
		"only the bottom":           {chainKeys("moby")[:1], func(s *containerdStore) digest.Digest { return s.manifestID }, top.DiffID.String() + ": the engine has not unpacked it"},
		"those of another user":     {chainKeys("k8s.io"), func(s *containerdStore) digest.Digest { return s.manifestID }, "the engine has not unpacked it"},
		"an image that is not here": {chainKeys("moby"), func(s *containerdStore) digest.Digest { return s.lost }, digest.FromString("not fetched").Encoded()},
		"no image":                  {nil, func(*containerdStore) digest.Digest { return empty }, empty.Encoded()},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			store := newContainerdStore(t)
			store.unpack(t, test.keys...)
			_, err := store.read(test.id(store))
			if err == nil || !strings.Contains(err.Error(), test.reason) {
				t.Errorf("%v, want %q", err, test.reason)
			}
		})
	}
}
