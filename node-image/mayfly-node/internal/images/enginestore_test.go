package images

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// podmanStore is a store with the records that Podman keeps of one image.
type podmanStore struct {
	dir    string
	id     digest.Digest
	layers []podmanLayer
}

func newPodmanStore(t *testing.T, layers ...podmanLayer) podmanStore {
	t.Helper()
	config := []byte(`{"os":"linux","rootfs":{"type":"layers","diff_ids":["` + digest.FromString("bottom").String() +
		`","` + digest.FromString("top").String() + `"]}}`)
	store := podmanStore{t.TempDir(), digest.FromBytes(config), layers}
	name := "=" + base64.StdEncoding.EncodeToString([]byte(store.id))
	store.write(t, filepath.Join("overlay-images", store.id.Encoded(), name), config)
	images, err := json.Marshal([]podmanImage{{ID: "another", TopLayer: "x"}, {store.id.Encoded(), "of-top"}})
	if err != nil {
		t.Fatal(err)
	}
	store.write(t, "overlay-images/images.json", images)
	for _, layer := range layers {
		store.write(t, filepath.Join("overlay", layer.ID, "diff/file"), []byte(layer.ID))
	}
	records, err := json.Marshal(layers)
	if err != nil {
		t.Fatal(err)
	}
	store.write(t, "overlay-layers/layers.json", records)
	return store
}

func (s podmanStore) write(t *testing.T, name string, content []byte) {
	t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s podmanStore) read(id digest.Digest) (Image, error) {
	return readPodmanImage(filepath.Join(s.dir, "overlay"), filepath.Join(s.dir, "overlay-images"), filepath.Join(s.dir, "overlay-layers"), id)
}

var (
	bottom = podmanLayer{ID: "of-bottom", DiffID: digest.FromString("bottom")}
	top    = podmanLayer{ID: "of-top", Parent: "of-bottom", DiffID: digest.FromString("top")}
)

func TestPodmansLayersAreFoundFromTheTopDown(t *testing.T) {
	store := newPodmanStore(t, top, bottom)
	image, err := store.read(store.id)
	if err != nil {
		t.Fatal(err)
	}
	want := []Layer{
		{Dir: filepath.Join(store.dir, "overlay/of-bottom/diff"), DiffID: bottom.DiffID, Size: int64(len("of-bottom"))},
		{Dir: filepath.Join(store.dir, "overlay/of-top/diff"), DiffID: top.DiffID, Size: int64(len("of-top"))},
	}
	if len(image.Layers) != 2 || image.Layers[0] != want[0] || image.Layers[1] != want[1] {
		t.Errorf("layers %v, want %v", image.Layers, want)
	}
	if digest.FromBytes(image.Config) != store.id {
		t.Errorf("configuration %s", image.Config)
	}
}

func TestPodmansStoreIsNotUsedWhereItsRecordsDoNotFitTheImage(t *testing.T) {
	other := top
	other.DiffID = digest.FromString("other")
	below := bottom
	below.Parent = "another"
	tests := map[string]struct {
		layers []podmanLayer
		reason string
	}{
		"a layer without record": {[]podmanLayer{top}, `has "of-bottom" of ""`},
		"another layer":          {[]podmanLayer{bottom, other}, `has "of-top"`},
		"a layer too many":       {[]podmanLayer{top, below}, "a layer another below"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			store := newPodmanStore(t, test.layers...)
			_, err := store.read(store.id)
			if err == nil || !strings.Contains(err.Error(), test.reason) {
				t.Errorf("%v, want %q", err, test.reason)
			}
		})
	}
}

func TestPodmansImageThatIsNotListedIsNamed(t *testing.T) {
	missing := digest.FromString("missing")
	_, err := newPodmanStore(t, top, bottom).read(missing)
	if err == nil || !strings.Contains(err.Error(), missing.String()) {
		t.Errorf("%v, want one that names %s", err, missing)
	}
}
