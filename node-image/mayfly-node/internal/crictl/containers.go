package crictl

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func listContainers(ctx context.Context, c *call) error {
	filter := &cri.ContainerFilter{PodSandboxId: c.pod}
	if !c.all {
		filter.State = &cri.ContainerStateValue{State: cri.ContainerState_CONTAINER_RUNNING}
	}
	answer, err := c.runtime.ListContainers(ctx, &cri.ListContainersRequest{Filter: filter})
	if err != nil {
		return err
	}
	answer.Containers = slices.DeleteFunc(answer.Containers, func(container *cri.Container) bool {
		return !strings.Contains(container.Metadata.GetName(), c.name)
	})
	slices.SortFunc(answer.Containers, func(a, b *cri.Container) int { return int(min(1, max(-1, b.CreatedAt-a.CreatedAt))) })
	var ids []string
	var rows [][]string
	for _, container := range answer.Containers {
		ids = append(ids, container.Id)
		rows = append(rows, []string{
			c.short(container.Id), c.short(container.Image.GetImage()), age(container.CreatedAt), state(container.State, "CONTAINER_"),
			container.Metadata.GetName(), strconv.FormatUint(uint64(container.Metadata.GetAttempt()), 10),
			c.short(container.PodSandboxId), container.Labels["io.kubernetes.pod.name"], container.Labels["io.kubernetes.pod.namespace"],
		})
	}
	return c.list(answer, ids, "CONTAINER|IMAGE|CREATED|STATE|NAME|ATTEMPT|POD ID|POD|NAMESPACE", rows)
}

// state is the interface's CONTAINER_RUNNING as people read it: Running.
func state(value fmt.Stringer, prefix string) string {
	word := strings.ToLower(strings.TrimPrefix(value.String(), prefix))
	return strings.ToUpper(word[:1]) + word[1:]
}

func inspectContainers(ctx context.Context, c *call) error {
	return c.each("container", func(id string) error {
		answer, err := c.runtime.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: id, Verbose: !c.quiet})
		if err != nil {
			return err
		}
		return c.showStatus(answer.Status, answer.Info)
	})
}

func stopContainers(ctx context.Context, c *call) error {
	return c.each("container", func(id string) error {
		_, err := c.runtime.StopContainer(ctx, &cri.StopContainerRequest{ContainerId: id, Timeout: c.timeout})
		return c.done(id, err)
	})
}

func removeContainers(ctx context.Context, c *call) error {
	return c.each("container", func(id string) error {
		_, err := c.runtime.RemoveContainer(ctx, &cri.RemoveContainerRequest{ContainerId: id})
		return c.done(id, err)
	})
}

func (c *call) done(id string, err error) error {
	if err == nil {
		fmt.Fprintln(c.out, id)
	}
	return err
}

func execSync(ctx context.Context, c *call) error {
	if len(c.args) < 2 {
		return fmt.Errorf("name a container and a command; for a terminal use kubectl exec -it")
	}
	answer, err := c.runtime.ExecSync(ctx, &cri.ExecSyncRequest{ContainerId: c.args[0], Cmd: c.args[1:], Timeout: c.timeout})
	if err != nil {
		return err
	}
	c.out.Write(answer.Stdout)
	os.Stderr.Write(answer.Stderr)
	if answer.ExitCode != 0 {
		return fmt.Errorf("command exited with %d", answer.ExitCode)
	}
	return nil
}

func printLog(ctx context.Context, c *call) error {
	id, err := c.one("container")
	if err != nil {
		return err
	}
	answer, err := c.runtime.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: id})
	if err != nil {
		return err
	}
	file, err := os.Open(answer.Status.GetLogPath())
	if err != nil {
		return err
	}
	defer file.Close()
	var lines []logLine
	for scanner := bufio.NewReader(file); ; {
		raw, err := scanner.ReadString('\n')
		if raw != "" {
			lines = append(lines, parseLogLine(raw))
		}
		if err != nil {
			break
		}
	}
	if c.tail >= 0 && len(lines) > c.tail {
		lines = lines[len(lines)-c.tail:]
	}
	for _, line := range lines {
		if line.stream == "stderr" {
			fmt.Fprint(os.Stderr, line.text)
		} else {
			fmt.Fprint(c.out, line.text)
		}
	}
	return nil
}

type logLine struct{ stream, text string }

// parseLogLine reads "TIME STREAM TAG TEXT"; a line whose tag is P goes on in
// the next one. The format is the interface's:
// https://github.com/kubernetes/design-proposals-archive/blob/main/node/kubelet-cri-logging.md
func parseLogLine(raw string) logLine {
	fields := strings.SplitN(raw, " ", 4)
	if len(fields) < 4 {
		return logLine{"stdout", raw}
	}
	text := fields[3]
	if strings.HasPrefix(fields[2], "P") {
		text = strings.TrimSuffix(text, "\n")
	}
	return logLine{fields[1], text}
}
