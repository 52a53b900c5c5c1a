package images

import (
	"context"
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

type registerRequest struct {
	// Layers and Images are where this node sees the engine's layer directories and its image database.
	Layers string          `json:"layers"`
	Images string          `json:"database"`
	Wanted []registerImage `json:"images"`
}

// registerImage is an image of the engine's store, or one whose layers another
// node has put where this one sees them, too.
type registerImage struct {
	wanted
	// ID is the engine's own id of the image: its configuration's digest.
	ID     digest.Digest `json:"id"`
	Shared *Image        `json:"shared"`
}

type registerAnswer struct {
	Images []registration `json:"images"`
}

// registration says what became of one image: it was there, it is now, or why it can't be.
type registration struct {
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
}

// link makes images this node's own by links to directories of the
// container engine's store, or of the cluster's: nothing is copied.
func (d daemon) link(ctx context.Context, request registerRequest) (registerAnswer, error) {
	listed, err := d.catalogue(ctx)
	if err != nil {
		return registerAnswer{}, err
	}
	layers, err := d.layers(ctx)
	if err != nil {
		return registerAnswer{}, err
	}
	var answer registerAnswer
	for _, image := range request.Wanted {
		present, err := d.ensureNames(ctx, listed, layers, image.wanted)
		switch {
		case err != nil:
			return registerAnswer{}, err
		case present:
			answer.Images = append(answer.Images, registration{State: "present"})
		default:
			answer.Images = append(answer.Images, d.registerFrom(ctx, request, image))
		}
	}
	return answer, nil
}

func (d daemon) registerFrom(ctx context.Context, request registerRequest, wanted registerImage) registration {
	image, err := wanted.find(request)
	if err == nil {
		err = d.leased(ctx, func(ctx context.Context, store Store) error {
			_, err := store.register(ctx, image, linkLayer)
			return err
		})
	}
	if err != nil {
		return registration{State: "failed", Reason: err.Error()}
	}
	return registration{State: "registered"}
}

func (wanted registerImage) find(request registerRequest) (Image, error) {
	if wanted.Shared != nil {
		return *wanted.Shared, nil
	}
	image, err := readEngineImage(request.Layers, request.Images, wanted.ID)
	image.Names = wanted.Names
	image.EngineID = wanted.ID
	return image, err
}

// linkLayer lets a snapshot's directory be one of another store. The overlay file
// system follows the link when it is mounted, and removing the snapshot removes the link only.
func linkLayer(to slot, layer Layer) error {
	if info, err := os.Stat(layer.Dir); err != nil {
		return err
	} else if !info.IsDir() {
		return fmt.Errorf("%s is no directory", layer.Dir)
	}
	if err := os.Remove(to.dir); err != nil {
		return err
	}
	return os.Symlink(layer.Dir, to.dir)
}

// readEngineImage finds an image in Docker's store with the overlay2 driver.
//
// Layout: imagedb/content/sha256/ID is the configuration, byte for byte;
// layerdb/sha256/CHAIN/cache-id names a layer's directory and size its size
// (github.com/moby/moby, image/fs.go and layer/filestore.go).
func readEngineImage(layersDir, database string, id digest.Digest) (Image, error) {
	if err := id.Validate(); err != nil {
		return Image{}, fmt.Errorf("image id %q: %w", id, err)
	}
	config, err := os.ReadFile(filepath.Join(database, "imagedb/content/sha256", id.Encoded()))
	if err != nil {
		return Image{}, err
	}
	if digest.FromBytes(config) != id {
		return Image{}, fmt.Errorf("the engine's configuration of %s has another digest", id)
	}
	var parsed ocispec.Image
	if err := json.Unmarshal(config, &parsed); err != nil {
		return Image{}, fmt.Errorf("configuration of %s: %w", id, err)
	}
	image := Image{Config: config}
	for at, diffID := range parsed.RootFS.DiffIDs {
		chain := identity.ChainID(parsed.RootFS.DiffIDs[:at+1])
		layer, err := readEngineLayer(layersDir, filepath.Join(database, "layerdb/sha256", chain.Encoded()))
		if err != nil {
			return Image{}, fmt.Errorf("layer %s: %w", diffID, err)
		}
		layer.DiffID = diffID
		image.Layers = append(image.Layers, layer)
	}
	return image, nil
}

func readEngineLayer(layersDir, record string) (Layer, error) {
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
