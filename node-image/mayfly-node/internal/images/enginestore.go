package images

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// readDockerImage finds an image in Docker's store with the overlay2 driver.
//
// Layout: imagedb/content/sha256/ID is the configuration, byte for byte;
// layerdb/sha256/CHAIN/cache-id names a layer's directory and size its size
// (github.com/moby/moby, image/fs.go and layer/filestore.go).
func readDockerImage(layersDir, database string, id digest.Digest) (Image, error) {
	config, diffIDs, err := readConfig(filepath.Join(database, "imagedb/content/sha256", id.Encoded()), id)
	if err != nil {
		return Image{}, err
	}
	image := Image{Config: config}
	for at, diffID := range diffIDs {
		chain := identity.ChainID(diffIDs[:at+1])
		layer, err := readDockerLayer(layersDir, filepath.Join(database, "layerdb/sha256", chain.Encoded()))
		if err != nil {
			return Image{}, fmt.Errorf("layer %s: %w", diffID, err)
		}
		layer.DiffID = diffID
		image.Layers = append(image.Layers, layer)
	}
	return image, nil
}

func readDockerLayer(layersDir, record string) (Layer, error) {
	cacheID, err := os.ReadFile(filepath.Join(record, "cache-id"))
	if err != nil {
		return Layer{}, err
	}
	dir := filepath.Join(layersDir, strings.TrimSpace(string(cacheID)), "diff")
	size, err := os.ReadFile(filepath.Join(record, "size"))
	if err != nil {
		return Layer{}, err
	}
	bytes, err := strconv.ParseInt(strings.TrimSpace(string(size)), 10, 64)
	if err != nil {
		return Layer{}, err
	}
	return Layer{Dir: dir, Size: bytes}, nil
}

// podmanImage is an image in overlay-images/images.json.
type podmanImage struct {
	ID string `json:"id"`
	// TopLayer is empty for an image without layers.
	TopLayer string `json:"layer"`
}

// podmanLayer is a layer in overlay-layers/layers.json.
type podmanLayer struct {
	ID     string        `json:"id"`
	Parent string        `json:"parent"`
	DiffID digest.Digest `json:"diff-digest"`
}

// readPodmanImage finds an image in Podman's store with the overlay driver.
//
// Layout: overlay-images/images.json names an image's top layer, and
// overlay-images/ID/=BASE64 is its configuration, where BASE64 stands for the
// configuration's digest; overlay-layers/layers.json has each layer's parent, and
// overlay/LAYER/diff its files (github.com/containers/storage, images.go,
// layers.go and drivers/overlay/overlay.go).
func readPodmanImage(layersDir, database, records string, id digest.Digest) (Image, error) {
	var images []podmanImage
	if err := readList(filepath.Join(database, "images.json"), &images); err != nil {
		return Image{}, err
	}
	layer, err := topLayer(images, id)
	if err != nil {
		return Image{}, err
	}
	file := "=" + base64.StdEncoding.EncodeToString([]byte(id))
	config, diffIDs, err := readConfig(filepath.Join(database, id.Encoded(), file), id)
	if err != nil {
		return Image{}, err
	}
	var listed []podmanLayer
	if err := readList(filepath.Join(records, "layers.json"), &listed); err != nil {
		return Image{}, err
	}
	byID := make(map[string]podmanLayer, len(listed))
	for _, one := range listed {
		byID[one.ID] = one
	}
	image := Image{Config: config, Layers: make([]Layer, len(diffIDs))}
	for at := len(diffIDs) - 1; at >= 0; at-- {
		record := byID[layer]
		if record.DiffID != diffIDs[at] {
			return Image{}, fmt.Errorf("layer %s: the engine has %q of %q there", diffIDs[at], layer, record.DiffID)
		}
		dir := filepath.Join(layersDir, layer, "diff")
		size, err := directorySize(dir)
		if err != nil {
			return Image{}, err
		}
		image.Layers[at] = Layer{Dir: dir, DiffID: record.DiffID, Size: size}
		layer = record.Parent
	}
	if layer != "" {
		return Image{}, fmt.Errorf("the engine has a layer %s below those of %s", layer, id)
	}
	return image, nil
}

func topLayer(images []podmanImage, id digest.Digest) (string, error) {
	for _, image := range images {
		if image.ID == id.Encoded() {
			return image.TopLayer, nil
		}
	}
	return "", fmt.Errorf("the engine's own store lists no image %s", id)
}

func readList(path string, list any) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(content, list); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// readConfig reads an image's configuration and the digests of its layers' streams, bottom up.
func readConfig(path string, id digest.Digest) ([]byte, []digest.Digest, error) {
	config, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	if digest.FromBytes(config) != id {
		return nil, nil, fmt.Errorf("the engine's configuration of %s has another digest", id)
	}
	var parsed ocispec.Image
	if err := json.Unmarshal(config, &parsed); err != nil {
		return nil, nil, fmt.Errorf("configuration of %s: %w", id, err)
	}
	return config, parsed.RootFS.DiffIDs, nil
}
