package crictl

import (
	"context"
	"fmt"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func showInfo(ctx context.Context, c *call) error {
	answer, err := c.runtime.Status(ctx, &cri.StatusRequest{Verbose: !c.quiet})
	if err != nil {
		return err
	}
	return c.showStatus(answer.Status, answer.Info)
}

func showVersion(ctx context.Context, c *call) error {
	answer, err := c.runtime.Version(ctx, &cri.VersionRequest{})
	if err != nil {
		return err
	}
	fmt.Fprintf(c.out, "Version:  %s\nRuntimeName:  %s\nRuntimeVersion:  %s\nRuntimeApiVersion:  %s\n",
		answer.Version, answer.RuntimeName, answer.RuntimeVersion, answer.RuntimeApiVersion)
	return nil
}
