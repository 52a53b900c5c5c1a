package images

import (
	"archive/tar"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	bolt "go.etcd.io/bbolt"
)

// Where containerd keeps what, below its root directory.
const (
	contentDir  = "io.containerd.content.v1.content"
	metadataDir = "io.containerd.metadata.v1.bolt"
	snapshotDir = "io.containerd.snapshotter.v1." + Snapshotter
)

// snapshotsFile lists, for every baked snapshot, the layer that its directory
// links to.
const snapshotsFile = "snapshots.json"

// bakeDocument is what `images bake` reads: the images of a node image, and the
// layers they are made of by name.
type bakeDocument struct {
	Architecture string               `json:"architecture"`
	Created      time.Time            `json:"created"`
	Layers       map[string]bakeLayer `json:"layers"`
	Images       []bakeImage          `json:"images"`
}

type bakeLayer struct {
	// Source is the directory now, NodePath where it will be in a node.
	Source   string `json:"source"`
	NodePath string `json:"nodePath"`
}

type bakeImage struct {
	Name   string              `json:"name"`
	Layers []string            `json:"layers"`
	Config ocispec.ImageConfig `json:"config"`
}

// RunBake writes a containerd store that holds images whose layers are
// directories of the node image. No daemon and no privilege is needed, so it
// works for another architecture as well.
func RunBake(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("images-bake", flag.ContinueOnError)
	output := flags.String("output", "", "directory to write the store to")
	input := flags.String("document", "", "JSON file that lists images and layers")
	if err := flags.Parse(args); err != nil {
		return err
	}
	raw, err := os.ReadFile(*input)
	if err != nil {
		return err
	}
	var document bakeDocument
	if err := json.Unmarshal(raw, &document); err != nil {
		return fmt.Errorf("%s: %w", *input, err)
	}
	return bake(namespaces.WithNamespace(ctx, Namespace), document, *output)
}

func bake(ctx context.Context, document bakeDocument, output string) error {
	layers := map[string]Layer{}
	for name, source := range document.Layers {
		layer, err := describeLayer(source.Source)
		if err != nil {
			return fmt.Errorf("layer %s: %w", name, err)
		}
		layer.Dir = source.NodePath
		layers[name] = layer
	}
	err := writeLinkedStore(ctx, output, func(store Store, link fill) error {
		for _, image := range document.Images {
			if err := bakeOne(ctx, store, document, image, layers, link); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, database := range []string{filepath.Join(metadataDir, "meta.db"), filepath.Join(snapshotDir, "metadata.db")} {
		if err := settleTimes(filepath.Join(output, database), document.Created); err != nil {
			return err
		}
	}
	return nil
}

// writeLinkedStore makes a store for Install: register is to fill snapshots by
// the given function, which notes each one's layer and copies nothing.
func writeLinkedStore(ctx context.Context, output string, register func(Store, fill) error) error {
	links := map[string]string{}
	link := func(to slot, layer Layer) error {
		links[filepath.Base(filepath.Dir(to.dir))] = layer.Dir
		return nil
	}
	if err := withOfflineStore(ctx, output, func(store Store) error { return register(store, link) }); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(output, snapshotDir, "snapshots")); err != nil {
		return err
	}
	listing, err := json.MarshalIndent(links, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(output, snapshotsFile), append(listing, '\n'), 0o644)
}

func bakeOne(ctx context.Context, store Store, document bakeDocument, image bakeImage, layers map[string]Layer, link fill) error {
	config := ocispec.Image{
		Created:  &document.Created,
		Platform: ocispec.Platform{OS: "linux", Architecture: document.Architecture},
		Config:   image.Config,
		RootFS:   ocispec.RootFS{Type: "layers"},
	}
	var used []Layer
	for _, name := range image.Layers {
		layer, known := layers[name]
		if !known {
			return fmt.Errorf("image %s names layer %q, which is not in the document", image.Name, name)
		}
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, layer.DiffID)
		used = append(used, layer)
	}
	configJSON, err := json.Marshal(config)
	if err != nil {
		return err
	}
	baked := Image{Names: []string{image.Name}, Config: configJSON, Layers: used, Pinned: true}
	if _, err = store.register(ctx, baked, link); err != nil {
		return fmt.Errorf("%s: %w", image.Name, err)
	}
	return nil
}

// withOfflineStore opens a containerd root directory as files.
func withOfflineStore(ctx context.Context, root string, use func(Store) error) (err error) {
	contents, err := local.NewStore(filepath.Join(root, contentDir))
	if err != nil {
		return err
	}
	snapshotter, err := overlay.NewSnapshotter(filepath.Join(root, snapshotDir))
	if err != nil {
		return err
	}
	defer snapshotter.Close()
	if err := os.MkdirAll(filepath.Join(root, metadataDir), 0o700); err != nil {
		return err
	}
	bolted, err := bolt.Open(filepath.Join(root, metadataDir, "meta.db"), 0o644, nil)
	if err != nil {
		return err
	}
	defer bolted.Close()
	db := metadata.NewDB(bolted, contents, map[string]snapshots.Snapshotter{Snapshotter: snapshotter})
	if err := db.Init(ctx); err != nil {
		return err
	}
	return use(Store{Content: db.ContentStore(), Images: metadata.NewImageStore(db), Snapshots: db.Snapshotter(Snapshotter)})
}

// describeLayer computes the digest and size of a directory's tar stream, in
// a form that depends on nothing but names, modes and contents.
func describeLayer(dir string) (Layer, error) {
	digester := digest.Canonical.Digester()
	counter := &countingWriter{to: digester.Hash()}
	archive := tar.NewWriter(counter)
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		return addToArchive(archive, dir, path, entry)
	})
	if err != nil {
		return Layer{}, err
	}
	if err := archive.Close(); err != nil {
		return Layer{}, err
	}
	return Layer{DiffID: digester.Digest(), Size: counter.written}, nil
}

func addToArchive(archive *tar.Writer, root, path string, entry fs.DirEntry) error {
	info, err := entry.Info()
	if err != nil {
		return err
	}
	var target string
	if entry.Type()&fs.ModeSymlink != 0 {
		if target, err = os.Readlink(path); err != nil {
			return err
		}
	}
	header, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return err
	}
	name, err := filepath.Rel(root, path)
	if err != nil {
		return err
	}
	*header = tar.Header{Typeflag: header.Typeflag, Name: name, Linkname: target, Mode: header.Mode, Size: header.Size, Format: tar.FormatPAX}
	if err := archive.WriteHeader(header); err != nil || !info.Mode().IsRegular() {
		return err
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.Copy(archive, file)
	return err
}

type countingWriter struct {
	to      io.Writer
	written int64
}

func (w *countingWriter) Write(p []byte) (int, error) {
	n, err := w.to.Write(p)
	w.written += int64(n)
	return n, err
}

// Install gives a containerd root directory the baked store: the databases are
// copied, as containerd writes to them; layers stay where they are.
// layerOf may send a layer's directory elsewhere.
func Install(baked, root string, layerOf func(dir string) string) error {
	raw, err := os.ReadFile(filepath.Join(baked, snapshotsFile))
	if err != nil {
		return err
	}
	var links map[string]string
	if err := json.Unmarshal(raw, &links); err != nil {
		return fmt.Errorf("%s: %w", snapshotsFile, err)
	}
	for _, dir := range []string{contentDir, metadataDir, snapshotDir} {
		if err := os.CopyFS(filepath.Join(root, dir), os.DirFS(filepath.Join(baked, dir))); err != nil {
			return err
		}
	}
	ids := make([]string, 0, len(links))
	for id := range links {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		if _, err := strconv.Atoi(id); err != nil {
			return fmt.Errorf("%s: %q is no snapshot id", snapshotsFile, id)
		}
		dir := filepath.Join(root, snapshotDir, "snapshots", id)
		// The work directory is what the snapshotter expects beside every fs.
		if err := os.MkdirAll(filepath.Join(dir, "work"), 0o711); err != nil {
			return err
		}
		if err := os.Symlink(layerOf(links[id]), filepath.Join(dir, "fs")); err != nil {
			return err
		}
	}
	return nil
}
