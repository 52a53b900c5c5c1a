package crictl

import (
	"context"
	"slices"
	"strconv"
	"strings"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func listPods(ctx context.Context, c *call) error {
	answer, err := c.runtime.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{})
	if err != nil {
		return err
	}
	answer.Items = slices.DeleteFunc(answer.Items, func(pod *cri.PodSandbox) bool {
		return !strings.Contains(pod.Metadata.GetName(), c.name) || !strings.Contains(pod.Metadata.GetNamespace(), c.namespace)
	})
	slices.SortFunc(answer.Items, func(a, b *cri.PodSandbox) int { return int(min(1, max(-1, b.CreatedAt-a.CreatedAt))) })
	var ids []string
	var rows [][]string
	for _, pod := range answer.Items {
		runtime := pod.RuntimeHandler
		if runtime == "" {
			runtime = "(default)"
		}
		ids = append(ids, pod.Id)
		rows = append(rows, []string{
			c.short(pod.Id), age(pod.CreatedAt), state(pod.State, "SANDBOX_"), pod.Metadata.GetName(), pod.Metadata.GetNamespace(),
			strconv.FormatUint(uint64(pod.Metadata.GetAttempt()), 10), runtime,
		})
	}
	return c.list(answer, ids, "POD ID|CREATED|STATE|NAME|NAMESPACE|ATTEMPT|RUNTIME", rows)
}

func inspectPods(ctx context.Context, c *call) error {
	return c.each("pod", func(id string) error {
		answer, err := c.runtime.PodSandboxStatus(ctx, &cri.PodSandboxStatusRequest{PodSandboxId: id, Verbose: !c.quiet})
		if err != nil {
			return err
		}
		return c.showStatus(answer.Status, answer.Info)
	})
}

func stopPods(ctx context.Context, c *call) error {
	return c.each("pod", func(id string) error {
		_, err := c.runtime.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: id})
		return c.done(id, err)
	})
}

func removePods(ctx context.Context, c *call) error {
	return c.each("pod", func(id string) error {
		_, err := c.runtime.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: id})
		return c.done(id, err)
	})
}
