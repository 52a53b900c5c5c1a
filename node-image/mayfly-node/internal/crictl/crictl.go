// Package crictl is the part of cri-tools' crictl that kind and people with a
// shell in a node use. It speaks the container runtime interface, so it sees
// what the kubelet sees. Names, flags and JSON are crictl's own:
// https://github.com/kubernetes-sigs/cri-tools/blob/master/docs/crictl.md
package crictl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const defaultEndpoint = "unix:///run/containerd/containerd.sock"

type command struct {
	names   []string
	usage   string
	summary string
	run     func(ctx context.Context, call *call) error
}

// The order is the one of the usage text.
var commands []command

func init() { // usage() reads the list that refers to it
	commands = []command{
		{[]string{"images", "image", "img"}, "[-q] [-o FORMAT] [REF]", "list images", listImages},
		{[]string{"inspecti"}, "[-o FORMAT] REF...", "show an image's details", inspectImages},
		{[]string{"pull"}, "REF", "pull an image", pullImage},
		{[]string{"rmi"}, "[--all|--prune] REF...", "remove images", removeImages},
		{[]string{"ps"}, "[-a] [-q] [-o FORMAT] [--name NAME] [--pod ID]", "list containers", listContainers},
		{[]string{"inspect"}, "[-o FORMAT] ID...", "show a container's details", inspectContainers},
		{[]string{"logs"}, "[--tail N] ID", "print a container's log", printLog},
		{[]string{"exec"}, "ID COMMAND [ARG...]", "run a command in a container", execSync},
		{[]string{"stop"}, "[--timeout SECONDS] ID...", "stop containers", stopContainers},
		{[]string{"rm"}, "ID...", "remove containers", removeContainers},
		{[]string{"pods"}, "[-q] [-o FORMAT] [--name NAME] [--namespace NAME]", "list pods", listPods},
		{[]string{"inspectp"}, "[-o FORMAT] ID...", "show a pod's details", inspectPods},
		{[]string{"stopp"}, "ID...", "stop pods", stopPods},
		{[]string{"rmp"}, "ID...", "remove pods", removePods},
		{[]string{"info"}, "", "show the runtime's state and configuration", showInfo},
		{[]string{"version"}, "", "show the runtime's version", showVersion},
	}
}

// call is one invocation: where the runtime is, what was asked for, where the answer goes.
type call struct {
	runtime cri.RuntimeServiceClient
	images  cri.ImageServiceClient
	out     io.Writer
	args    []string
	options
}

type options struct {
	all, quiet, noTrunc, prune bool
	output, template           string
	name, namespace, pod       string
	tail                       int
	timeout                    int64
}

// Run is crictl with its arguments.
func Run(ctx context.Context, args []string) error {
	global := pflag.NewFlagSet("crictl", pflag.ContinueOnError)
	global.SetInterspersed(false)
	global.Usage = usage
	endpoint := global.StringP("runtime-endpoint", "r", defaultEndpoint, "")
	global.StringP("image-endpoint", "i", "", "")
	global.StringP("config", "c", "", "")
	timeout := global.DurationP("timeout", "t", 30*time.Second, "")
	global.BoolP("debug", "D", false, "")
	switch err := global.Parse(args); {
	case errors.Is(err, pflag.ErrHelp):
		return nil
	case err != nil:
		return err
	}
	if global.NArg() == 0 || global.Arg(0) == "help" {
		usage()
		return nil
	}
	name := global.Arg(0)
	at := slices.IndexFunc(commands, func(c command) bool { return slices.Contains(c.names, name) })
	if at < 0 {
		return fmt.Errorf("%q is not among the commands that this node's crictl has; run crictl help to see them, or ctr -n k8s.io for everything else", name)
	}
	call, err := parse(commands[at], global.Args()[1:])
	if errors.Is(err, pflag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	connection, err := grpc.NewClient(*endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("connect to %s: %w", *endpoint, err)
	}
	defer connection.Close()
	call.runtime, call.images = cri.NewRuntimeServiceClient(connection), cri.NewImageServiceClient(connection)
	if name != "pull" { // takes as long as it takes
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, *timeout)
		defer stop()
	}
	return commands[at].run(ctx, call)
}

func parse(c command, args []string) (*call, error) {
	call := &call{out: os.Stdout}
	flags := pflag.NewFlagSet("crictl "+c.names[0], pflag.ContinueOnError)
	flags.SetInterspersed(c.names[0] != "exec") // the command's flags are its own
	flags.Usage = func() {
		fmt.Fprintf(os.Stderr, "usage: crictl %s %s\n%s\n", c.names[0], c.usage, c.summary)
	}
	flags.BoolVarP(&call.all, "all", "a", false, "")
	flags.BoolVarP(&call.quiet, "quiet", "q", false, "")
	flags.BoolVar(&call.noTrunc, "no-trunc", false, "")
	flags.BoolVar(&call.prune, "prune", false, "")
	flags.StringVarP(&call.output, "output", "o", "", "")
	flags.StringVar(&call.template, "template", "", "")
	flags.StringVar(&call.name, "name", "", "")
	flags.StringVar(&call.namespace, "namespace", "", "")
	flags.StringVarP(&call.pod, "pod", "p", "", "")
	flags.IntVar(&call.tail, "tail", -1, "")
	flags.Int64VarP(&call.timeout, "timeout", "t", 0, "")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	call.args = flags.Args()
	return call, nil
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: crictl [--runtime-endpoint URL] COMMAND [flags]\n\nA part of cri-tools' crictl, built into the node:")
	table := tabwriter.NewWriter(os.Stderr, 0, 0, 2, ' ', 0)
	for _, c := range commands {
		fmt.Fprintf(table, "  %s\t%s\t%s\n", c.names[0], c.usage, c.summary)
	}
	table.Flush()
}

// each runs something for every argument; one that fails does not keep the others.
func (c *call) each(what string, run func(arg string) error) error {
	if len(c.args) == 0 {
		return fmt.Errorf("name at least one %s", what)
	}
	var failures []error
	for _, arg := range c.args {
		if err := run(arg); err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", arg, err))
		}
	}
	return errors.Join(failures...)
}

func (c *call) one(what string) (string, error) {
	if len(c.args) != 1 {
		return "", fmt.Errorf("name one %s, not %d: %s", what, len(c.args), strings.Join(c.args, " "))
	}
	return c.args[0], nil
}
