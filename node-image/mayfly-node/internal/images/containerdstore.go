package images

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// readContainerdImage finds an image in Docker's store where that is containerd's.
//
// Layout: contents/blobs/sha256/ID is the image's index or manifest, which leads
// to its configuration there; layers/metadata.db names each snapshot
// NAMESPACE/NUMBER/CHAIN and has the ID of its directory, layers/snapshots/ID/fs
// (github.com/containerd/containerd, plugins/content/local,
// core/snapshots/storage, core/metadata/snapshot.go and
// plugins/snapshots/overlay).
func readContainerdImage(ctx context.Context, layersDir, contents, namespace string, id digest.Digest) (Image, error) {
	blobs := blobDirectory(filepath.Join(contents, "blobs"))
	target, err := blobs.describe(ctx, id)
	if err != nil {
		return Image{}, err
	}
	found, err := readImage(ctx, blobs, []images.Image{{Name: id.String(), Target: target}})
	if err != nil {
		return Image{}, err
	}
	chains, err := snapshotIDs(ctx, filepath.Join(layersDir, "metadata.db"), namespace)
	if err != nil {
		return Image{}, err
	}
	image := Image{Config: found.Config, Manifest: found.Manifest}
	for at, diffID := range found.diffIDs {
		snapshot, unpacked := chains[identity.ChainID(found.diffIDs[:at+1])]
		if !unpacked {
			return Image{}, fmt.Errorf("layer %s: the engine has not unpacked it", diffID)
		}
		dir := filepath.Join(layersDir, "snapshots", snapshot, "fs")
		image.Layers = append(image.Layers, Layer{Dir: dir, DiffID: diffID, Size: found.archives[at].Size})
	}
	return image, nil
}

// snapshotIDs gives the directories of a namespace's committed layers, by their chains.
func snapshotIDs(ctx context.Context, database, namespace string) (map[digest.Digest]string, error) {
	dir, err := os.MkdirTemp("", "mayfly-engine-snapshots-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	copied := filepath.Join(dir, "metadata.db")
	if err := copyDatabase(database, copied); err != nil {
		return nil, err
	}
	records, err := storage.NewMetaStore(copied)
	if err != nil {
		return nil, err
	}
	defer records.Close()
	chains := map[digest.Digest]string{}
	return chains, records.WithTransaction(ctx, false, func(ctx context.Context) error {
		keys, err := storage.IDMap(ctx)
		for id, key := range keys {
			name, ours := strings.CutPrefix(key, namespace+"/")
			_, chain, named := strings.Cut(name, "/")
			// Those that are still written to have names of another form.
			if ours && named && digest.Digest(chain).Validate() == nil {
				chains[digest.Digest(chain)] = id
			}
		}
		return err
	})
}

const (
	// A database begins with two pages, one of which each commit writes last, and
	// overwrites no page that the commit before it used (go.etcd.io/bbolt).
	metaPages    = 2
	copyAttempts = 20
)

// copyDatabase copies a database of which containerd keeps the lock. What is
// copied is the state of one commit, as long as no other ended meanwhile.
func copyDatabase(from, to string) error {
	database, err := os.Open(from)
	if err != nil {
		return err
	}
	defer database.Close()
	head := make([]byte, metaPages*os.Getpagesize())
	for range copyAttempts {
		copied, err := io.ReadAll(io.NewSectionReader(database, 0, 1<<62))
		if err != nil {
			return err
		}
		if _, err := database.ReadAt(head, 0); err != nil {
			return fmt.Errorf("%s: %w", from, err)
		}
		if bytes.HasPrefix(copied, head) {
			return os.WriteFile(to, copied, 0o600)
		}
	}
	return fmt.Errorf("%s changed in each of %d copies", from, copyAttempts)
}

// blobDirectory is containerd's content store, for reading.
type blobDirectory string

func (dir blobDirectory) path(id digest.Digest) string {
	return filepath.Join(string(dir), id.Algorithm().String(), id.Encoded())
}

// ReaderAt opens a blob.
func (dir blobDirectory) ReaderAt(_ context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	return local.OpenReader(dir.path(desc.Digest))
}

// Info tells whether there is a blob, and its size.
func (dir blobDirectory) Info(_ context.Context, id digest.Digest) (content.Info, error) {
	info, err := os.Stat(dir.path(id))
	if err != nil {
		return content.Info{}, err
	}
	return content.Info{Digest: id, Size: info.Size(), CreatedAt: info.ModTime(), UpdatedAt: info.ModTime()}, nil
}

// describe tells what kind of document a blob is: an index or a manifest.
func (dir blobDirectory) describe(ctx context.Context, id digest.Digest) (ocispec.Descriptor, error) {
	described := ocispec.Descriptor{Digest: id}
	blob, err := content.ReadBlob(ctx, dir, described)
	if err != nil {
		return described, fmt.Errorf("the engine's document of %s: %w", id, err)
	}
	if digest.FromBytes(blob) != id {
		return described, fmt.Errorf("the engine's document of %s has another digest", id)
	}
	var document struct {
		MediaType string           `json:"mediaType"`
		Manifests *json.RawMessage `json:"manifests"`
	}
	if err := json.Unmarshal(blob, &document); err != nil {
		return described, fmt.Errorf("document of %s: %w", id, err)
	}
	described.Size = int64(len(blob))
	switch {
	case document.MediaType != "": // OCI's documents need not say it
		described.MediaType = document.MediaType
	case document.Manifests != nil:
		described.MediaType = ocispec.MediaTypeImageIndex
	default:
		described.MediaType = ocispec.MediaTypeImageManifest
	}
	if !images.IsIndexType(described.MediaType) && !images.IsManifestType(described.MediaType) {
		return described, fmt.Errorf("%s is no image but of media type %q", id, described.MediaType)
	}
	return described, nil
}
