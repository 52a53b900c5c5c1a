package crictl

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func listImages(ctx context.Context, c *call) error {
	request := &cri.ListImagesRequest{}
	if len(c.args) > 0 {
		request.Filter = &cri.ImageFilter{Image: &cri.ImageSpec{Image: c.args[0]}}
	}
	answer, err := c.images.ListImages(ctx, request)
	if err != nil {
		return err
	}
	slices.SortFunc(answer.Images, func(a, b *cri.Image) int { return cmp.Compare(firstName(a), firstName(b)) })
	var ids []string
	var rows [][]string
	for _, image := range answer.Images {
		ids = append(ids, image.Id)
		for _, name := range namesOf(image) {
			repository, tag := splitTag(name)
			rows = append(rows, []string{repository, tag, c.short(image.Id), bytesSize(image.Size)})
		}
	}
	return c.list(answer, ids, "IMAGE|TAG|IMAGE ID|SIZE", rows)
}

func firstName(image *cri.Image) string { return namesOf(image)[0] }

// namesOf is never empty: an image without a tag goes by its digest or is "<none>".
func namesOf(image *cri.Image) []string {
	if len(image.RepoTags) > 0 {
		return image.RepoTags
	}
	if len(image.RepoDigests) > 0 {
		repository, _, _ := strings.Cut(image.RepoDigests[0], "@")
		return []string{repository + ":<none>"}
	}
	return []string{"<none>:<none>"}
}

func splitTag(name string) (repository, tag string) {
	if at := strings.LastIndexByte(name, ':'); at > strings.LastIndexByte(name, '/') {
		return name[:at], name[at+1:]
	}
	return name, "<none>"
}

func inspectImages(ctx context.Context, c *call) error {
	return c.each("image", func(ref string) error {
		answer, err := c.images.ImageStatus(ctx, &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: ref}, Verbose: !c.quiet})
		if err != nil {
			return err
		}
		if answer.Image == nil {
			return fmt.Errorf("no such image")
		}
		return c.showStatus(answer.Image, answer.Info)
	})
}

func pullImage(ctx context.Context, c *call) error {
	ref, err := c.one("image")
	if err != nil {
		return err
	}
	answer, err := c.images.PullImage(ctx, &cri.PullImageRequest{Image: &cri.ImageSpec{Image: ref}})
	if err != nil {
		return err
	}
	fmt.Fprintf(c.out, "Image is up to date for %s\n", answer.ImageRef)
	return nil
}

func removeImages(ctx context.Context, c *call) error {
	if c.all || c.prune {
		refs, err := c.removable(ctx)
		if err != nil || len(refs) == 0 {
			return err
		}
		c.args = refs
	}
	return c.each("image", func(ref string) error {
		// The interface removes what is not there without a word.
		status, err := c.images.ImageStatus(ctx, &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: ref}})
		if err != nil {
			return err
		}
		if status.Image == nil {
			return fmt.Errorf("no such image")
		}
		if _, err := c.images.RemoveImage(ctx, &cri.RemoveImageRequest{Image: &cri.ImageSpec{Image: ref}}); err != nil {
			return err
		}
		fmt.Fprintf(c.out, "Deleted: %s\n", ref)
		return nil
	})
}

// removable lists the images that --all or --prune removes: never pinned ones,
// which the node cannot get back, and with --prune none that a container uses.
func (c *call) removable(ctx context.Context) ([]string, error) {
	listed, err := c.images.ListImages(ctx, &cri.ListImagesRequest{})
	if err != nil {
		return nil, err
	}
	used := map[string]bool{}
	if c.prune {
		containers, err := c.runtime.ListContainers(ctx, &cri.ListContainersRequest{})
		if err != nil {
			return nil, err
		}
		for _, container := range containers.Containers {
			used[container.ImageRef], used[container.ImageId] = true, true
		}
	}
	var refs []string
	for _, image := range listed.Images {
		if !image.Pinned && !used[image.Id] {
			refs = append(refs, image.Id)
		}
	}
	return refs, nil
}
