package images

import (
	"context"
	"fmt"
	"os"

	"github.com/opencontainers/go-digest"
)

type registerRequest struct {
	// Store is what the engine keeps its images in: overlay2 (Docker), overlay (Podman) or containerd (Docker).
	Store string `json:"store"`
	// Layers and Images are where this node sees the engine's layer directories and its image database.
	Layers string `json:"layers"`
	Images string `json:"database"`
	// LayerRecords is where it sees what Podman keeps beside its database.
	LayerRecords string `json:"layerRecords"`
	// Namespace is containerd's one that has the engine's images.
	Namespace string          `json:"namespace"`
	Wanted    []registerImage `json:"images"`
}

// registerImage is an image of the engine's store, or one whose layers another
// node has put where this one sees them, too.
type registerImage struct {
	wanted
	// ID is the engine's own id of the image: the digest of its configuration, or of its index or manifest (containerd).
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
	image, err := wanted.find(ctx, request)
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

func (wanted registerImage) find(ctx context.Context, request registerRequest) (Image, error) {
	if wanted.Shared != nil {
		return *wanted.Shared, nil
	}
	image, err := request.read(ctx, wanted.ID)
	image.Names = wanted.Names
	image.EngineID = wanted.ID
	return image, err
}

func (request registerRequest) read(ctx context.Context, id digest.Digest) (Image, error) {
	if err := id.Validate(); err != nil {
		return Image{}, fmt.Errorf("image id %q: %w", id, err)
	}
	switch request.Store {
	case "overlay2":
		return readDockerImage(request.Layers, request.Images, id)
	case "overlay":
		return readPodmanImage(request.Layers, request.Images, request.LayerRecords, id)
	case "containerd":
		return readContainerdImage(ctx, request.Layers, request.Images, request.Namespace, id)
	}
	return Image{}, fmt.Errorf("images can't be found in a store of kind %q", request.Store)
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
