package images

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// RunAdopt turns the containerd store of another project's node image, whose
// images are archives that each new node would have to unpack, into one that
// Install takes: layers unpacked in directories that all nodes share.
func RunAdopt(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("images-adopt", flag.ContinueOnError)
	root := flags.String("root", containerdRoot, "containerd's root directory; it is removed in the end")
	output := flags.String("output", "", "directory to write the store to")
	layers := flags.String("layers", "", "directory to unpack layers to")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(*root, metadataDir, "meta.db")); err != nil {
		return fmt.Errorf("no containerd store with images: %w", err)
	}
	if err := os.MkdirAll(*layers, 0o755); err != nil {
		return err
	}
	ctx = namespaces.WithNamespace(ctx, Namespace)
	err := withOfflineStore(ctx, *root, func(from Store) error {
		return writeLinkedStore(ctx, *output, func(to Store, link fill) error {
			return adopt(ctx, from, to, &unpacker{dir: *layers, known: map[digest.Digest]Layer{}}, link)
		})
	})
	if err != nil {
		return err
	}
	return os.RemoveAll(*root)
}

func adopt(ctx context.Context, from, to Store, layers *unpacker, link fill) error {
	list, err := from.Images.List(ctx)
	if err != nil {
		return err
	}
	byTarget := map[digest.Digest][]images.Image{}
	for _, image := range list {
		byTarget[image.Target.Digest] = append(byTarget[image.Target.Digest], image)
	}
	for _, records := range byTarget {
		image, err := readImage(ctx, from.Content, records)
		if err != nil {
			return err
		}
		err = layers.unpack(ctx, from.Content, &image)
		if err == nil {
			if _, err = to.register(ctx, image.Image, link); err == nil {
				err = layers.lendPause(image.Image)
			}
		} else if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOTSUP) {
			// The file system of a container takes no marks for deleted files: containerd unpacks this one on a volume.
			log.Printf("%s stays packed: %v", records[0].Name, err)
			err = copyPacked(ctx, from, to, records)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", records[0].Name, err)
		}
	}
	return nil
}

// packed is an image whose layers are archives in the content store.
type packed struct {
	Image
	archives []ocispec.Descriptor
	diffIDs  []digest.Digest
}

// readImage reads an image for this machine, which all the records stand for.
func readImage(ctx context.Context, store content.InfoReaderProvider, records []images.Image) (packed, error) {
	var image packed
	for _, record := range records {
		image.Names = append(image.Names, record.Name)
		image.Pinned = image.Pinned || record.Labels[pinnedLabel] == pinned
	}
	fail := func(err error) (packed, error) { return packed{}, fmt.Errorf("%s: %w", image.Names[0], err) }
	descriptor, err := manifestFor(ctx, store, records[0].Target)
	if err != nil {
		return fail(err)
	}
	if image.Manifest, err = content.ReadBlob(ctx, store, descriptor); err != nil {
		return fail(err)
	}
	var manifest ocispec.Manifest
	if err := json.Unmarshal(image.Manifest, &manifest); err != nil {
		return fail(err)
	}
	if image.Config, err = content.ReadBlob(ctx, store, manifest.Config); err != nil {
		return fail(err)
	}
	var config ocispec.Image
	if err := json.Unmarshal(image.Config, &config); err != nil {
		return fail(err)
	}
	image.archives, image.diffIDs = manifest.Layers, config.RootFS.DiffIDs
	if len(image.archives) != len(image.diffIDs) {
		return fail(fmt.Errorf("its manifest has %d layers, its configuration %d", len(image.archives), len(image.diffIDs)))
	}
	return image, nil
}

// manifestFor follows an index to the manifest for this machine. Those for
// others, and what is not a platform's at all, were never fetched.
func manifestFor(ctx context.Context, store content.InfoReaderProvider, target ocispec.Descriptor) (ocispec.Descriptor, error) {
	if !images.IsIndexType(target.MediaType) {
		return target, nil
	}
	raw, err := content.ReadBlob(ctx, store, target)
	if err != nil {
		return target, err
	}
	var index ocispec.Index
	if err := json.Unmarshal(raw, &index); err != nil {
		return target, err
	}
	here := platforms.Default()
	at := slices.IndexFunc(index.Manifests, func(one ocispec.Descriptor) bool {
		if one.Platform != nil && !here.Match(*one.Platform) {
			return false
		}
		_, err := store.Info(ctx, one.Digest)
		return err == nil
	})
	if at < 0 {
		return target, fmt.Errorf("no manifest for %s", platforms.DefaultString())
	}
	return manifestFor(ctx, store, index.Manifests[at])
}

// unpacker unpacks layers into numbered directories, each layer once.
type unpacker struct {
	dir   string
	count int
	// known has layers by what makes them what they are.
	known map[digest.Digest]Layer
}

// unpack gives an image the directories of its layers.
func (u *unpacker) unpack(ctx context.Context, store content.Store, image *packed) error {
	var lower []string
	for at, archive := range image.archives {
		layer, err := u.layer(ctx, store, archive, image.diffIDs[:at+1], lower)
		if err != nil {
			return fmt.Errorf("layer %s: %w", archive.Digest, err)
		}
		image.Layers = append(image.Layers, layer)
		lower = append([]string{layer.Dir}, lower...)
	}
	return nil
}

func (u *unpacker) layer(ctx context.Context, store content.Store, archive ocispec.Descriptor, chain []digest.Digest, lower []string) (Layer, error) {
	diffID := chain[len(chain)-1]
	chainID := identity.ChainID(slices.Clone(chain))
	for _, id := range []digest.Digest{diffID, chainID} {
		if layer, known := u.known[id]; known {
			return layer, nil
		}
	}
	reader, err := store.ReaderAt(ctx, archive)
	if err != nil {
		return Layer{}, err
	}
	defer reader.Close()
	u.count++
	dir := filepath.Join(u.dir, strconv.Itoa(u.count))
	got, err := unpack(ctx, io.NewSectionReader(reader, 0, reader.Size()), dir)
	if err != nil {
		return Layer{}, errors.Join(err, os.RemoveAll(dir))
	}
	if got.diffID != diffID {
		return Layer{}, fmt.Errorf("the image's configuration promises %s, the archive has %s", diffID, got.diffID)
	}
	layer := Layer{Dir: dir, DiffID: diffID, Size: got.size}
	if len(got.implicit) == 0 {
		u.known[diffID] = layer
		return layer, nil
	}
	// It looks different on other layers.
	u.known[chainID] = layer
	return layer, inheritAttributes(dir, got.implicit, lower)
}

var pauseName = regexp.MustCompile(`(^|/)pause(:|@|$)`)

// lendPause puts the program that does nothing where the node images of ours
// have it: src/images/engine-store.ts has the engine run it.
func (u *unpacker) lendPause(image Image) error {
	if !slices.ContainsFunc(image.Names, pauseName.MatchString) {
		return nil
	}
	for _, layer := range image.Layers {
		program := filepath.Join(layer.Dir, "pause")
		if _, err := os.Stat(program); err != nil {
			continue
		}
		if err := os.MkdirAll(filepath.Join(u.dir, "pause"), 0o755); err != nil {
			return err
		}
		if err := os.Link(program, filepath.Join(u.dir, "pause", "pause")); !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// copyPacked copies an image as it is.
func copyPacked(ctx context.Context, from, to Store, records []images.Image) error {
	copyBlob := func(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		reader, err := from.Content.ReaderAt(ctx, desc)
		if errdefs.IsNotFound(err) { // of another platform
			return nil, images.ErrSkipDesc
		}
		if err != nil {
			return nil, err
		}
		defer reader.Close()
		blob := io.NewSectionReader(reader, 0, reader.Size())
		return nil, content.WriteBlob(ctx, to.Content, "mayfly-"+desc.Digest.Encoded(), blob, desc)
	}
	children := images.SetChildrenLabels(to.Content, images.ChildrenHandler(to.Content))
	if err := images.Walk(ctx, images.Handlers(images.HandlerFunc(copyBlob), children), records[0].Target); err != nil {
		return err
	}
	for _, record := range records {
		if err := to.record(ctx, images.Image{Name: record.Name, Target: record.Target, Labels: record.Labels}); err != nil {
			return err
		}
	}
	return nil
}
