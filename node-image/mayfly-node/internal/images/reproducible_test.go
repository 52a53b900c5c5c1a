package images

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func bakeExample(t *testing.T, created time.Time) string {
	t.Helper()
	layers := map[string]bakeLayer{}
	for _, name := range []string{"base", "one", "two"} {
		dir := filepath.Join(t.TempDir(), name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "file"), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
		layers[name] = bakeLayer{Source: dir, NodePath: "/layers/" + name}
	}
	output := t.TempDir()
	ctx := namespaces.WithNamespace(t.Context(), Namespace)
	err := bake(ctx, bakeDocument{
		Architecture: "amd64",
		Created:      created,
		Layers:       layers,
		Images: []bakeImage{
			{Name: "example.test/one:1", Layers: []string{"base", "one"}, Config: ocispec.ImageConfig{Env: []string{"A=1"}}},
			{Name: "example.test/two:1", Layers: []string{"base", "two"}},
		},
	}, output)
	if err != nil {
		t.Fatal(err)
	}
	return output
}

func filesOf(t *testing.T, root string) map[string][]byte {
	t.Helper()
	found := map[string][]byte{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		found[path[len(root):]] = content
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestTheSameImagesGiveTheSameBytes(t *testing.T) {
	created := time.Unix(1_793_491_200, 0)
	first, second := filesOf(t, bakeExample(t, created)), filesOf(t, bakeExample(t, created))
	if len(first) == 0 || len(first) != len(second) {
		t.Fatalf("%d files and %d files", len(first), len(second))
	}
	for path, content := range first {
		if !bytes.Equal(content, second[path]) {
			t.Errorf("%s differs", path)
		}
	}
}

func TestASettledStoreHasItsImagesAndGoesOnCounting(t *testing.T) {
	created := time.Unix(1_793_491_200, 0).UTC()
	root := bakeExample(t, created)
	ctx := namespaces.WithNamespace(t.Context(), Namespace)
	err := withOfflineStore(ctx, root, func(store Store) error {
		listed, err := store.Images.List(ctx)
		if err != nil {
			return err
		}
		names := map[string]images.Image{}
		for _, image := range listed {
			names[image.Name] = image
		}
		one, found := names["example.test/one:1"]
		if !found || len(names) != 4 { // each goes by its id, too
			t.Errorf("images are %v", names)
		}
		if !one.CreatedAt.Equal(created) {
			t.Errorf("made at %v", one.CreatedAt)
		}
		// A snapshot id that is given twice would put a container into an image's layer.
		mounts, err := store.Snapshots.Prepare(ctx, "new", "")
		if err != nil {
			return err
		}
		dir, _, err := directories(mounts)
		if base := filepath.Base(filepath.Dir(dir)); base != "4" {
			t.Errorf("the next snapshot after 3 has the id %s", base)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
