/* labprobe: the guest's end of the measurement, one small static program.
 *
 * `labprobe daemon PORT [KMSG]` runs for the life of the guest. PORT is a virtio-serial port; a
 * unix socket (it connects, and connects again) or `-` (stdin and stdout) serve for tests. KMSG
 * is where the kernel's messages are read, /dev/kmsg if not given; `-`: they are not. Commands
 * come in as lines, everything goes out as lines of one JSON object each:
 *
 *   ping                             "pong" with the guest's three clocks
 *   beacon MS                        a "beacon" line every MS ms from now on (0: none)
 *   links                            a "link" line of event "state" for each netdev, "links"
 *   sink ID PORT [4|6]               receive stream ID on UDP PORT, record every arrival
 *   send ID DST PORT RATE SIZE COUNT [SRCPORT [DSCP]]
 *                                    send stream ID: RATE packets a second, SIZE octets of IP
 *                                    packet each, COUNT of them (0: until `stop`)
 *   tcp-sink ID PORT [4|6]           take one connection, check what comes, see "TCP" below
 *   tcp-send ID DST PORT RATE [OCTETS [DSCP]]
 *                                    connect and send RATE octets a second, OCTETS of them
 *                                    (0: until `stop`, which waits up to 2 s for their ACKs)
 *   stop ID                          "stopped" with the totals
 *   dump ID                          "data" lines (base64 of records), then "end" with CRC-32
 *   load                             "load": what this program has cost the guest so far
 *   forget ID                        stop and forget a stream
 *   reset                            stop and forget all streams
 *   again N                          send the lines from number N on once more
 *   afresh NS|- SEED                 for a guest that was loaded from a saved state: CLOCK_REALTIME
 *                                    becomes NS (-: stays), the kernel's random numbers are seeded
 *                                    with SEED (hexadecimal), and this program is started anew;
 *                                    the answer is its "hello", or an "error"
 *   quit
 *
 * PORT may be `icmp`: `send` then sends echo requests. Their replies are a record of their own, of
 * ID + 65536: `sink ID+65536 icmp`. Streams go where the guest's routes lead; for tagged frames
 * the guest has a VLAN netdev with an address of the VLAN's subnet.
 *
 * A command may start with `@TAG ` (digits); its answer then carries "re":TAG. What cannot be
 * done is answered by an "error" line. Every line has a number "n", counted from 0: a reader
 * that misses one (a migration can swallow what was under way) asks for it by `again`.
 * Not asked for, a "link" line follows each change of a netdev; its "guest_ns" is the
 * guest's CLOCK_MONOTONIC, which stands still while the guest is stopped. So does a "kmsg" line
 * follow each message of the kernel, see "the kernel's messages" below.
 *
 * Threads: main owns the port (it alone reads and writes it), one follows netlink, each stream
 * has one. They meet in the queue of lines below. It is one file so that one command compiles
 * it. The other side of all this is harness/traffic/guestlink.py; the packet's format is
 * defined in harness/traffic/layout.py. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/random.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL
/* RFC 2863 states; linux/if.h, which has them, cannot be had together with net/if.h. */
#define OPER_UNKNOWN 0
#define OPER_UP 6

static int64_t clock_ns(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return t.tv_sec * SECOND + t.tv_nsec;
}

static int64_t now(void) { return clock_ns(CLOCK_MONOTONIC); }

/* ---- the queue of lines ------------------------------------------------------------------
 * A ring. Line n is in slot n % SLOTS: waiting when n >= next_out, kept for `again` when sent.
 * When SLOTS lines wait, new ones are dropped and counted, and a later line says how many. */
#define SLOTS 2048

static struct {
	pthread_mutex_t lock;
	char *line[SLOTS];
	uint64_t next_in, next_out; /* numbers of the next line to come, to be written */
	uint64_t rewind;            /* `again`: go back to this one when no line is half written */
	uint64_t dropped;           /* since the last "dropped" line */
	int wake;                   /* eventfd: there is something to write */
} queue = { .lock = PTHREAD_MUTEX_INITIALIZER, .rewind = UINT64_MAX };

static void put_locked(const char *body)
{
	uint64_t n = queue.next_in;
	char *line;

	if (n - queue.next_out >= SLOTS ||
	    asprintf(&line, "{\"n\":%llu,%s}\n", (unsigned long long)n, body) < 0) {
		queue.dropped++;
		return;
	}
	free(queue.line[n % SLOTS]);
	queue.line[n % SLOTS] = line;
	queue.next_in++;
}

/* Queue one line; the format makes the members of the object, without the braces. */
__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
	char body[6144], lost[64];
	va_list arguments;

	va_start(arguments, format);
	int length = vsnprintf(body, sizeof body, format, arguments);
	va_end(arguments);
	if (length >= (int)sizeof body)
		snprintf(body, sizeof body, "\"kind\":\"error\",\"text\":\"a line was too long\"");
	pthread_mutex_lock(&queue.lock);
	if (queue.dropped && queue.next_in - queue.next_out < SLOTS - 1) {
		snprintf(lost, sizeof lost, "\"kind\":\"dropped\",\"lines\":%llu",
			 (unsigned long long)queue.dropped);
		queue.dropped = 0;
		put_locked(lost);
	}
	put_locked(body);
	pthread_mutex_unlock(&queue.lock);
	eventfd_write(queue.wake, 1);
}

static uint64_t lines_waiting(void)
{
	pthread_mutex_lock(&queue.lock);
	uint64_t waiting = queue.next_in - queue.next_out;
	pthread_mutex_unlock(&queue.lock);
	return waiting;
}

/* JSON text of a kernel string: anything unusual in an interface name becomes '?'. */
static const char *clean(char *text)
{
	for (char *c = text; *c; c++)
		if (*c < 0x20 || *c > 0x7e || *c == '"' || *c == '\\')
			*c = '?';
	return text;
}

/* ---- netdevs -----------------------------------------------------------------------------
 * A table of what was last said of each netdev. A line is written for every message of the
 * kernel; its "event" is what differs from the table. */
#define LINKS 64
#define ADDRESSES 16

struct netdev {
	int index, master, mtu, carrier; /* index 0: the entry is free; carrier -1: not known */
	unsigned flags;
	uint8_t operstate;
	bool seen; /* in the dump that is going on */
	char name[IFNAMSIZ], mac[32], driver[32];
	char address[ADDRESSES][INET6_ADDRSTRLEN + 4];
};

static struct netdev links[LINKS];
static pthread_mutex_t links_lock = PTHREAD_MUTEX_INITIALIZER;

static struct netdev *find_link(int index)
{
	for (int i = 0; i < LINKS; i++)
		if (links[i].index == index)
			return &links[i];
	return NULL;
}

/* The driver's name as ethtool -i shows it. sysfs would not do: a net_failover master has the
 * same device, and so the same device/driver, as its standby. */
static void ask_driver(struct netdev *link)
{
	static int fd = -1;
	struct ethtool_drvinfo info = { .cmd = ETHTOOL_GDRVINFO };
	struct ifreq request = { .ifr_data = (void *)&info };

	if (fd < 0)
		fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	memcpy(request.ifr_name, link->name, IFNAMSIZ);
	if (ioctl(fd, SIOCETHTOOL, &request) == 0)
		memcpy(link->driver, info.driver, sizeof link->driver - 1);
	clean(link->driver);
}

/* `why` is what else the message says: see name_why. */
static void say_link_why(const char *event, const struct netdev *link, int64_t guest_ns,
			 bool initial, const char *why)
{
	static const char *const states[] = { "unknown", "notpresent", "down", "lowerlayerdown",
					      "testing", "dormant", "up" };
	char master[IFNAMSIZ + 2] = "null", driver[40] = "null", addresses[1024] = "", *end = addresses;
	char name[IFNAMSIZ];

	if (link->master) {
		struct netdev *entry = find_link(link->master);
		if (entry)
			snprintf(master, sizeof master, "\"%s\"", entry->name);
		else if (if_indextoname(link->master, name)) /* not in the table yet */
			snprintf(master, sizeof master, "\"%s\"", clean(name));
	}
	if (link->driver[0])
		snprintf(driver, sizeof driver, "\"%s\"", link->driver);
	for (int i = 0; i < ADDRESSES; i++)
		if (link->address[i][0])
			end += sprintf(end, "%s\"%s\"", end == addresses ? "" : ",", link->address[i]);
	say("\"kind\":\"link\",\"event\":\"%s\",\"guest_ns\":%lld,\"initial\":%s,\"flags\":%u,"
	    "\"why\":\"%s\",\"master_index\":%d,\"link\":{\"index\":%d,\"name\":\"%s\",\"mac\":\"%s\",\"master\":%s,"
	    "\"operstate\":\"%s\",\"carrier\":%s,\"driver\":%s,\"mtu\":%d,\"addresses\":[%s]}",
	    event, (long long)guest_ns, initial ? "true" : "false", link->flags, why, link->master,
	    link->index, link->name, link->mac, master,
	    link->operstate < 7 ? states[link->operstate] : "unknown",
	    link->carrier < 0 ? "null" : link->carrier ? "true" : "false", driver, link->mtu,
	    addresses);
}

static void say_link(const char *event, const struct netdev *link, int64_t guest_ns, bool initial)
{
	say_link_why(event, link, guest_ns, initial, "");
}

/* Why the kernel sent a message: the cause that it names (IFLA_EVENT), and the flags that
 * differ. Many messages about a netdev tell nothing else. */
static void name_why(char *why, size_t size, uint32_t cause, unsigned before, unsigned flags)
{
	static const char *const causes[] = { "", "REBOOT", "FEATURES", "BONDING_FAILOVER",
					      "NOTIFY_PEERS", "IGMP_RESEND", "BONDING_OPTIONS" };
	static const struct {
		unsigned flag;
		const char *name;
	} names[] = { { IFF_UP, "UP" },		{ IFF_RUNNING, "RUNNING" },
		      { 1 << 16, "LOWER_UP" },	{ 1 << 17, "DORMANT" },
		      { IFF_PROMISC, "PROMISC" }, { IFF_ALLMULTI, "ALLMULTI" },
		      { IFF_SLAVE, "SLAVE" },	{ IFF_NOARP, "NOARP" } };
	int n = snprintf(why, size, "%s",
			 cause < sizeof causes / sizeof *causes ? causes[cause] : "another cause");

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if ((before ^ flags) & names[i].flag)
			n += snprintf(why + n, size - (size_t)n, "%s%c%s", n ? " " : "",
				      flags & names[i].flag ? '+' : '-', names[i].name);
}

static struct {
	int fd;
	uint32_t seq; /* of the dump that was asked for last */
	enum { DUMP_LINKS, DUMP_ADDRESSES, FOLLOW } stage;
	bool first, torn; /* nothing was reported yet; the dump was interrupted by a change */
} monitor;

static void request_dump(uint16_t type)
{
	struct {
		struct nlmsghdr head;
		struct ifinfomsg body; /* an ifaddrmsg is shorter; zeroes mean "all" for both */
	} request = { .head = { .nlmsg_len = sizeof request,
				.nlmsg_type = type,
				.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
				.nlmsg_seq = ++monitor.seq } };

	monitor.torn = false;
	if (send(monitor.fd, &request, sizeof request, 0) < 0)
		say("\"kind\":\"error\",\"text\":\"netlink dump: %s\"", strerror(errno));
}

static void begin_dump(void)
{
	monitor.stage = DUMP_LINKS;
	for (int i = 0; i < LINKS; i++)
		links[i].seen = false;
	request_dump(RTM_GETLINK);
}

static void end_dump(int64_t t)
{
	if (monitor.torn) {
		begin_dump();
		return;
	}
	if (monitor.stage == DUMP_LINKS) {
		for (struct netdev *link = links; link < links + LINKS; link++) {
			if (link->index && !link->seen) { /* removed while messages were lost */
				say_link("removed", link, t, false);
				link->index = 0;
			}
			memset(link->address, 0, sizeof link->address);
		}
		monitor.stage = DUMP_ADDRESSES;
		request_dump(RTM_GETADDR);
		return;
	}
	if (monitor.stage == DUMP_ADDRESSES && monitor.first) {
		for (struct netdev *link = links; link < links + LINKS; link++)
			if (link->index)
				say_link("added", link, t, true);
		say("\"kind\":\"monitoring\",\"guest_ns\":%lld", (long long)t);
		monitor.first = false;
	}
	monitor.stage = FOLLOW;
}

static void link_message(const struct nlmsghdr *message, int64_t t)
{
	const struct ifinfomsg *info = NLMSG_DATA(message);
	int left = IFLA_PAYLOAD(message);
	uint32_t cause = 0;
	char why[128];
	struct netdev *link, old, fresh = { .index = info->ifi_index, .flags = info->ifi_flags,
					    .carrier = -1, .seen = true };

	/* A bridge reports its ports as family AF_BRIDGE: a DELLINK of that kind removes nothing. */
	if (info->ifi_family != AF_UNSPEC || info->ifi_index <= 0)
		return;
	for (struct rtattr *a = IFLA_RTA(info); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
		const uint8_t *data = RTA_DATA(a);
		int size = RTA_PAYLOAD(a);
		if (a->rta_type == IFLA_IFNAME)
			snprintf(fresh.name, sizeof fresh.name, "%s", (const char *)data);
		else if (a->rta_type == IFLA_ADDRESS && size == 6)
			snprintf(fresh.mac, sizeof fresh.mac, "%02x:%02x:%02x:%02x:%02x:%02x", data[0],
				 data[1], data[2], data[3], data[4], data[5]);
		else if (a->rta_type == IFLA_MASTER && size == 4)
			memcpy(&fresh.master, data, 4);
		else if (a->rta_type == IFLA_MTU && size == 4)
			memcpy(&fresh.mtu, data, 4);
		else if (a->rta_type == IFLA_OPERSTATE)
			fresh.operstate = *data;
		else if (a->rta_type == IFLA_CARRIER)
			fresh.carrier = *data;
		else if (a->rta_type == IFLA_EVENT && size == 4)
			memcpy(&cause, data, 4);
	}
	clean(fresh.name);
	link = find_link(info->ifi_index);
	if (message->nlmsg_type == RTM_DELLINK) {
		if (link) {
			if (!monitor.first)
				say_link("removed", link, t, false);
			memset(link, 0, sizeof *link);
		}
		return;
	}
	bool added = link == NULL;
	if (added && !(link = find_link(0))) {
		say("\"kind\":\"error\",\"text\":\"more than %d netdevs\"", LINKS);
		return;
	}
	old = *link;
	if (added) {
		ask_driver(&fresh);
	} else {
		memcpy(fresh.driver, old.driver, sizeof fresh.driver);
		memcpy(fresh.address, old.address, sizeof fresh.address);
	}
	*link = fresh;
	if (monitor.first) /* reported whole at the end of the first dump */
		return;
	if (added) {
		say_link("added", link, t, false);
		/* The failover module enslaves a netdev while it registers, so that the message
		 * of its registration shows the master already. */
		if (fresh.master)
			say_link("enslaved", link, t, false);
		return;
	}
	name_why(why, sizeof why, cause, old.flags, fresh.flags);
	bool said = false;
	if (old.master && old.master != fresh.master)
		say_link_why("released", link, t, false, why), said = true;
	if (fresh.master && old.master != fresh.master)
		say_link_why("enslaved", link, t, false, why), said = true;
	/* "unknown" with a carrier is a netdev that works and does not say so (dummy, lo). */
	if (old.operstate != OPER_UP && fresh.operstate == OPER_UP)
		say_link_why("up", link, t, false, why), said = true;
	else if ((old.operstate == OPER_UP || (old.operstate == OPER_UNKNOWN && old.carrier == 1)) &&
		 fresh.operstate != OPER_UP && fresh.operstate != OPER_UNKNOWN)
		say_link_why("down", link, t, false, why), said = true;
	/* A dump that follows lost messages repeats what is known: no line for that. */
	old.seen = fresh.seen;
	if (!said && (monitor.stage == FOLLOW || memcmp(&old, &fresh, sizeof old) != 0))
		say_link_why("changed", link, t, false, why);
}

static void address_message(const struct nlmsghdr *message, int64_t t)
{
	const struct ifaddrmsg *info = NLMSG_DATA(message);
	int left = IFA_PAYLOAD(message);
	struct netdev *link = find_link((int)info->ifa_index);
	char text[INET6_ADDRSTRLEN], full[INET6_ADDRSTRLEN + 4] = "";
	int slot = -1, known = -1;
	bool local = false;

	for (struct rtattr *a = IFA_RTA(info); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
		/* IFA_ADDRESS is the peer's on a point-to-point netdev; IFA_LOCAL goes before it. */
		if (a->rta_type != IFA_LOCAL && (a->rta_type != IFA_ADDRESS || local))
			continue;
		local = a->rta_type == IFA_LOCAL;
		if (inet_ntop(info->ifa_family, RTA_DATA(a), text, sizeof text))
			snprintf(full, sizeof full, "%s/%u", text, info->ifa_prefixlen);
	}
	if (!link || !link->index || !full[0])
		return;
	for (int i = ADDRESSES - 1; i >= 0; i--) {
		if (!link->address[i][0])
			slot = i;
		else if (!strcmp(link->address[i], full))
			known = i;
	}
	if (message->nlmsg_type == RTM_NEWADDR && known < 0 && slot >= 0)
		memcpy(link->address[slot], full, sizeof full);
	else if (message->nlmsg_type == RTM_DELADDR && known >= 0)
		link->address[known][0] = 0;
	if (!monitor.first)
		say_link_why("changed", link, t, false,
			     message->nlmsg_type == RTM_NEWADDR && known >= 0 ? "a known address" : "");
}

static void *follow_netlink(void *unused)
{
	static char buffer[65536] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct sockaddr_nl address = { .nl_family = AF_NETLINK,
				       .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR |
						    RTMGRP_IPV6_IFADDR };
	int size = 4 << 20;

	(void)unused;
	monitor.fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	monitor.first = true;
	if (setsockopt(monitor.fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) < 0)
		say("\"kind\":\"error\",\"text\":\"netlink buffer: %s\"", strerror(errno));
	if (bind(monitor.fd, (struct sockaddr *)&address, sizeof address) < 0) {
		say("\"kind\":\"error\",\"text\":\"netlink: %s\"", strerror(errno));
		return NULL;
	}
	begin_dump();
	for (;;) {
		ssize_t length = recv(monitor.fd, buffer, sizeof buffer, 0);
		int64_t t = now();
		pthread_mutex_lock(&links_lock);
		if (length < 0 && errno == ENOBUFS) {
			say("\"kind\":\"netlink-lost\",\"guest_ns\":%lld", (long long)t);
			begin_dump();
		} else if (length < 0 && errno != EINTR) {
			say("\"kind\":\"error\",\"text\":\"netlink: %s\"", strerror(errno));
			pthread_mutex_unlock(&links_lock);
			return NULL;
		}
		int left = (int)length;
		for (struct nlmsghdr *m = (void *)buffer; NLMSG_OK(m, left); m = NLMSG_NEXT(m, left)) {
			if ((m->nlmsg_flags & NLM_F_DUMP_INTR) && m->nlmsg_seq == monitor.seq)
				monitor.torn = true;
			if (m->nlmsg_type == NLMSG_DONE && m->nlmsg_seq == monitor.seq)
				end_dump(t);
			else if (m->nlmsg_type == RTM_NEWLINK || m->nlmsg_type == RTM_DELLINK)
				link_message(m, t);
			else if (m->nlmsg_type == RTM_NEWADDR || m->nlmsg_type == RTM_DELADDR)
				address_message(m, t);
		}
		pthread_mutex_unlock(&links_lock);
	}
}

/* ---- the kernel's messages ----------------------------------------------------------------
 * Each record of KMSG from our start on (the boot's are in the console's log) becomes a "kmsg"
 * line. Its own stamp is printk's: local_clock(), which nobody can read from here, which is
 * not CLOCK_MONOTONIC, and which may jump when a migration brings the guest to another
 * processor. What is certain on CLOCK_MONOTONIC: it was logged after we last saw nothing unread
 * ("empty_ns"), before we read it ("guest_ns"). To do better, a mark of our own follows what was
 * read: a record written between two readings of CLOCK_MONOTONIC, whose stamp, when it comes
 * back, tells how far the clocks are apart ("kmsg-clock"). A message between two marks has
 * both to go by (harness/traffic/kernellog.py does). A mark is of level 7, which consoles do not
 * show, and comes at most once a second: the kernel takes ten writes in 5 s from one writer.
 *
 * A flood must not cost the guest its measurement: of each second's messages the first
 * MESSAGES are read, the rest is jumped over; and none are read while many lines wait. Numbers
 * left out are told by "kmsg-gap". */
#define MESSAGES 100
#define MESSAGE_TEXT 1000 /* octets of one that are passed on */
#define MARK "labprobe: clock "

static struct {
	int in, out;	   /* to read; to write marks (-1: that is not allowed) */
	int64_t empty;	   /* nothing was unread then */
	int64_t second;	   /* when the second began in which `count` messages were read */
	int count;
	bool skipped;	   /* messages were jumped over since the last record */
	uint64_t next;	   /* number of the record to come; 0: not known */
	bool mark_wanted;
	int64_t mark_due, mark_from, mark_to;
	unsigned marks;
	char mark[48]; /* text of the last one */
} kernel = { .in = -1, .out = -1 };

static void write_mark(void)
{
	char line[64];

	snprintf(kernel.mark, sizeof kernel.mark, MARK "%d %u", (int)getpid(), ++kernel.marks);
	int length = snprintf(line, sizeof line, "<7>%s\n", kernel.mark);
	kernel.mark_from = now();
	if (write(kernel.out, line, (size_t)length) != length) {
		close(kernel.out);
		kernel.out = -1;
	}
	kernel.mark_to = now();
	kernel.mark_due = kernel.mark_to + SECOND;
	kernel.mark_wanted = false;
}

static void open_kernel_log(const char *path)
{
	if (!strcmp(path, "-"))
		return;
	kernel.empty = kernel.second = now();
	kernel.in = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (kernel.in < 0) {
		say("\"kind\":\"error\",\"text\":\"kernel messages: %s\"", strerror(errno));
		return;
	}
	lseek(kernel.in, 0, SEEK_END);
	kernel.out = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	kernel.mark_wanted = true;
}

/* Say one record: PRIORITY,NUMBER,STAMP,FLAGS...;TEXT, and lines of details that are left out.
 * The kernel writes what is not printable ASCII as \xNN. */
static void say_message(char *record, int64_t t)
{
	unsigned priority;
	unsigned long long number, stamp;
	char *text = strchr(record, ';'), shown[2 * MESSAGE_TEXT + 4], *out = shown;
	struct timespec tick = { 0 }; /* the resolution of the coarse clocks is the tick's length */

	clock_getres(CLOCK_MONOTONIC_COARSE, &tick);
	if (!text || sscanf(record, "%u,%llu,%llu", &priority, &number, &stamp) != 3)
		return;
	text++;
	text[strcspn(text, "\n")] = 0;
	if (kernel.next && number > kernel.next)
		say("\"kind\":\"kmsg-gap\",\"messages\":%llu,\"why\":\"%s\",\"guest_ns\":%lld",
		    number - (unsigned long long)kernel.next, kernel.skipped ? "flood" : "overwritten",
		    (long long)t);
	kernel.next = number + 1;
	kernel.skipped = false;
	if (!strncmp(text, MARK, sizeof MARK - 1)) {
		/* An answer to another labprobe's mark would call for its answer, for ever. */
		if (!strcmp(text, kernel.mark))
			say("\"kind\":\"kmsg-clock\",\"seq\":%llu,\"stamp_us\":%llu,\"from_ns\":%lld,"
			    "\"to_ns\":%lld,\"tick_ns\":%lld",
			    number, stamp, (long long)kernel.mark_from, (long long)kernel.mark_to,
			    (long long)(tick.tv_sec * SECOND + tick.tv_nsec));
		return;
	}
	for (char *c = text; *c && c < text + MESSAGE_TEXT; c++) {
		if (*c == '"' || *c == '\\')
			*out++ = '\\';
		*out++ = *c < 0x20 || *c > 0x7e ? '?' : *c;
	}
	memcpy(out, strlen(text) > MESSAGE_TEXT ? "..." : "", strlen(text) > MESSAGE_TEXT ? 4 : 1);
	say("\"kind\":\"kmsg\",\"level\":%u,\"seq\":%llu,\"stamp_us\":%llu,\"empty_ns\":%lld,"
	    "\"guest_ns\":%lld,\"text\":\"%s\"",
	    priority & 7, number, stamp, (long long)kernel.empty, (long long)t, shown);
	kernel.count++;
	kernel.mark_wanted = true;
}

/* Whether messages may be read now. */
static bool wants_messages(void)
{
	return kernel.in >= 0 && kernel.count < MESSAGES && lines_waiting() < SLOTS / 4;
}

static void read_messages(void)
{
	char record[8193];

	while (wants_messages()) {
		int64_t before = now();
		ssize_t length = read(kernel.in, record, sizeof record - 1);
		if (length < 0 && (errno == EPIPE || errno == EINTR))
			continue; /* EPIPE: overwritten; the next number tells how many were */
		if (length <= 0) {
			kernel.empty = before;
			if (length < 0 && errno != EAGAIN) {
				say("\"kind\":\"error\",\"text\":\"kernel messages: %s\"",
				    strerror(errno));
				close(kernel.in);
				kernel.in = -1;
			}
			return;
		}
		record[length] = 0;
		say_message(record, now());
	}
}

/* What time brings: a new second, a mark. When there is something to do next (0: nothing). */
static int64_t tend_messages(int64_t t)
{
	if (kernel.in < 0)
		return 0;
	if (t - kernel.second >= SECOND) {
		if (kernel.count >= MESSAGES) {
			kernel.skipped = lseek(kernel.in, 0, SEEK_END) >= 0;
			kernel.empty = t;
			kernel.mark_wanted = true; /* the last one may have been jumped over */
		}
		kernel.second = t;
		kernel.count = 0;
	}
	if (kernel.mark_wanted && kernel.out >= 0 && t >= kernel.mark_due)
		write_mark();
	if (kernel.count >= MESSAGES)
		return kernel.second + SECOND;
	return kernel.mark_wanted && kernel.out >= 0 ? kernel.mark_due : 0;
}

/* ---- streams ----------------------------------------------------------------------------- */
#define STREAMS 64
#define RECORDS_MAX (1u << 22) /* 64 MB; one hour at 1,000 packets a second */
#define MAGIC 0x46485054u      /* "FHPT" */
#define BURST 4                /* packets that a late sender sends at once, at most */
#define FLOWING 10             /* packets after which a sender says that it is flowing */
#define ECHO_REPLIES 65536

/* The payload's head, in network order; zeroes follow (harness/traffic/layout.py). */
struct numbered {
	uint32_t magic;
	uint16_t stream, flags;
	uint32_t seq;
	uint64_t sent_ns;
} __attribute__((packed));

/* One arrival, or one send: `error` is its errno when the kernel refused it, else 0. */
struct record {
	uint64_t t_ns;
	uint32_t seq, error;
} __attribute__((packed));

struct stream {
	int id; /* 0: free; above ECHO_REPLIES: the replies to stream id - ECHO_REPLIES */
	bool sender, six, icmp, tcp;
	atomic_bool stop, ended;
	int fd, wake; /* the eventfd wakes a sink to stop */
	pthread_t thread;
	pthread_mutex_t lock; /* of the records */
	struct record *records;
	uint32_t count, room, refused; /* refused: not recorded, there was no room */
	/* sink: datagrams that are not this stream's; dropped by the socket, which was full */
	uint32_t foreign, overrun;
	/* sender; see run_sender for what is late and what moved */
	struct sockaddr_storage to;
	uint32_t wanted, size, sent, failed, late;
	int64_t period, largest_gap, moved;
	int traffic_class;
	/* TCP, see below */
	bool connected, whole; /* whole: the sender has said that there is no more */
	int broken;	       /* errno that ended the connection, or 0 */
	double rate;	       /* octets a second */
	uint64_t wanted_octets, octets, corrupt, first_corrupt, unacknowledged;
	uint32_t stalls, retransmitted;
	int64_t longest_stall;
};

static struct stream streams[STREAMS];

static void add_record(struct stream *s, int64_t t, uint32_t seq, uint32_t error)
{
	pthread_mutex_lock(&s->lock);
	if (s->count == s->room && s->room < RECORDS_MAX) {
		uint32_t room = s->room ? s->room * 2 : 4096;
		struct record *more = realloc(s->records, room * sizeof *more);
		if (more)
			s->records = more, s->room = room;
	}
	if (s->count < s->room)
		s->records[s->count++] = (struct record){ htole64((uint64_t)t), htole32(seq),
							  htole32(error) };
	else if (s->refused++ == 0)
		say("\"kind\":\"full\",\"id\":%d,\"records\":%u", s->id, s->count);
	pthread_mutex_unlock(&s->lock);
}

/* How far CLOCK_REALTIME is ahead of CLOCK_MONOTONIC, and between which readings that was
 * seen. A thread that loses the processor between two readings, as it does for milliseconds
 * in an emulated guest, sees a wide bracket; the narrowest of several tells. */
struct ahead {
	int64_t ns, bracket, at;
};

static struct ahead look_ahead(int tries)
{
	struct ahead best = { .bracket = INT64_MAX };

	while (tries-- > 0) {
		int64_t before = now(), real = clock_ns(CLOCK_REALTIME), after = now();
		if (after - before < best.bracket)
			best = (struct ahead){ real - before - (after - before) / 2,
					       after - before, after };
	}
	return best;
}

/* A sink lets packets gather for LAZY_MS in its socket, rather than be woken for each: waking
 * costs an emulated guest most, and the stamps are the kernel's anyway. */
#define LAZY_MS 10

/* Arrival times are the kernel's stamps (CLOCK_REALTIME, when the frame left the driver),
 * taken over to CLOCK_MONOTONIC by the difference of the two clocks, which is looked at again
 * every second: nobody sets a guest's clock during a run, but that is not for us to assume. */
static void *run_sink(void *argument)
{
	enum { BATCH = 32, ROOM = 60 + 8 + sizeof(struct numbered) };
	struct stream *s = argument;
	uint8_t data[BATCH][ROOM];
	struct numbered head;
	struct iovec io[BATCH];
	struct mmsghdr messages[BATCH];
	char control[BATCH][128] __attribute__((aligned(8)));
	struct pollfd wait[2] = { { .fd = s->fd, .events = POLLIN },
				  { .fd = s->wake, .events = POLLIN } };
	struct ahead ahead = look_ahead(16);

	while (poll(wait, 2, -1) >= 0 || errno == EINTR) {
		for (int i = 0; i < BATCH; i++) {
			io[i] = (struct iovec){ data[i], ROOM };
			messages[i].msg_hdr = (struct msghdr){ .msg_iov = &io[i], .msg_iovlen = 1,
							       .msg_control = control[i],
							       .msg_controllen = sizeof control[i] };
		}
		int got = recvmmsg(s->fd, messages, BATCH, MSG_DONTWAIT, NULL);
		int64_t mono = now();
		if (got > 0 && mono - ahead.at > SECOND) {
			struct ahead fresh = look_ahead(3);
			if (fresh.bracket <= 2 * ahead.bracket ||
			    llabs(fresh.ns - ahead.ns) > fresh.bracket + ahead.bracket)
				ahead = fresh;
			ahead.at = mono;
		}
		for (int i = 0; i < got; i++) {
			struct msghdr *m = &messages[i].msg_hdr;
			int64_t t = mono;
			for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
				struct timespec stamp;
				if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS) {
					memcpy(&stamp, CMSG_DATA(c), sizeof stamp);
					t = stamp.tv_sec * SECOND + stamp.tv_nsec - ahead.ns;
				} else if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_RXQ_OVFL) {
					memcpy(&s->overrun, CMSG_DATA(c), sizeof s->overrun);
				}
			}
			/* A raw socket gives the ICMP header too, and that of IPv4 before it. */
			size_t at = !s->icmp ? 0 : s->six ? 8 : 8 + (data[i][0] & 15) * 4u;
			if (messages[i].msg_len >= at + sizeof head)
				memcpy(&head, data[i] + at, sizeof head);
			else
				head.magic = 0;
			if (ntohl(head.magic) == MAGIC && ntohs(head.stream) == (s->id & 0xffff))
				add_record(s, t, ntohl(head.seq), 0);
			else
				s->foreign++;
		}
		if (got <= 0 && s->stop) /* all that had come is recorded */
			break;
		if (got < BATCH)
			poll(wait + 1, 1, LAZY_MS);
	}
	s->ended = true;
	return NULL;
}

/* The header of an echo request; of ICMPv6 the kernel makes the checksum. */
static void write_echo(const struct stream *s, uint8_t *message, size_t length, uint32_t k)
{
	uint16_t words[4] = { htons(s->six ? ICMP6_ECHO_REQUEST << 8 : 8 << 8), 0,
			      htons((uint16_t)s->id), htons((uint16_t)k) };
	uint32_t sum = 0;

	memcpy(message, words, sizeof words);
	if (s->six)
		return;
	for (size_t i = 0; i < length; i += 2) /* there is a zero after an odd length */
		sum += (uint32_t)(message[i] << 8 | message[i + 1]);
	sum = (sum >> 16) + (sum & 0xffff);
	sum = ~((sum >> 16) + sum) & 0xffff;
	message[2] = (uint8_t)(sum >> 8);
	message[3] = (uint8_t)sum;
}

/* Packet k is due at start + k * period. One that leaves more than a period after its time is
 * late. A late sender catches up BURST packets at once at most; if it is behind even then, the
 * schedule moves by what is missing (`moved`, ns), so that a stall makes no burst. Numbers have
 * no gaps: a packet that the kernel refused is recorded with its errno and was not sent. */
static void *run_sender(void *argument)
{
	struct stream *s = argument;
	size_t before = s->icmp ? 8 : 0; /* octets of the header that are ours to write */
	size_t length = s->size - (s->six ? 48 : 28) + before;
	socklen_t to_length = s->six ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
	uint8_t *payload = calloc(1, length + 1);
	struct numbered head = { .magic = htonl(MAGIC), .stream = htons((uint16_t)s->id) };
	int64_t start = now(), last = 0;
	uint32_t in_a_row = 0;

	for (uint32_t k = 0; payload && !s->stop && (!s->wanted || k < s->wanted); k++) {
		int64_t due = start + (int64_t)k * s->period, t = now();
		if (t < due)
			in_a_row = 0;
		else if (++in_a_row > BURST && t - due > s->period) {
			s->moved += t - due;
			start += t - due;
			in_a_row = 0;
		}
		/* Where the clock is an emulated HPET, reading it is dear: no more than twice a packet. */
		while (t < due && !s->stop) { /* slices, so that `stop` is soon heard */
			int64_t until = due - t > SECOND / 10 ? t + SECOND / 10 : due;
			struct timespec wake = { until / SECOND, until % SECOND };
			clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &wake, NULL);
			t = now();
		}
		if (s->stop)
			break;
		head.seq = htonl(k);
		head.sent_ns = htobe64((uint64_t)t);
		memcpy(payload + before, &head, sizeof head);
		if (s->icmp)
			write_echo(s, payload, length, k);
		/* Never wait for room: a stalled netdev must not stall the schedule unseen. */
		int error = 0;
		if (sendto(s->fd, payload, length, MSG_DONTWAIT, (struct sockaddr *)&s->to, to_length) < 0)
			error = errno;
		add_record(s, t, k, (uint32_t)error);
		s->late += t - due > s->period;
		if (last && t - last > s->largest_gap)
			s->largest_gap = t - last;
		last = t;
		if (error)
			s->failed++;
		else if (++s->sent == FLOWING)
			say("\"kind\":\"flowing\",\"id\":%d", s->id);
	}
	free(payload);
	s->ended = true;
	if (!s->stop)
		say("\"kind\":\"finished\",\"id\":%d,\"sent\":%u,\"failed\":%u", s->id, s->sent, s->failed);
	return NULL;
}

/* ---- TCP -----------------------------------------------------------------------------------
 * A stream of octets whose word k, 8 octets in network order, is ID << 48 | k: each octet's
 * place says what it has to be. The sender writes what is due every TICK; what it could not
 * write within CATCH_UP it does not make up for (`moved`). The sink checks each octet. A stall is
 * more than STALL between two receipts, or in which the sender's socket took nothing.
 *
 * Its records are told apart by `error`; t_ns is when it was noted, the value is in `seq`:
 * 1 octets since the last such record, one each second (at most 2^32 - 1); 2 a stall that has
 * just ended, in us; 3 silence until the end, in us; 4 segments retransmitted in all, when that
 * has changed. harness/traffic/tcp.py is the same for a namespace. */
#define TICK (SECOND / 100)
#define STALL (SECOND / 10)
#define CATCH_UP (SECOND / 10)
#define TCP_CHUNK 16384
enum { TCP_PROGRESS = 1, TCP_STALL, TCP_SILENCE, TCP_RETRANSMITTED };

static uint8_t ramp(const struct stream *s, uint64_t at)
{
	uint64_t word = (uint64_t)s->id << 48 | (at / 8 & 0xffffffffffffULL);
	return (uint8_t)(word >> (56 - at % 8 * 8));
}

static void note_stall(struct stream *s, int64_t from, int64_t t, uint32_t kind)
{
	if (!from || t - from <= STALL)
		return;
	s->stalls++;
	if (t - from > s->longest_stall)
		s->longest_stall = t - from;
	add_record(s, t, (uint32_t)((t - from) / 1000), kind);
}

struct progress {
	int64_t t;
	uint64_t octets;
};

/* Once a second, and at the end: how far it has come, and what the kernel says. */
static void note_progress(struct stream *s, int fd, struct progress *told, bool end)
{
	struct tcp_info info;
	socklen_t length = sizeof info;
	int64_t t = now();

	if (t - told->t < SECOND && !end)
		return;
	uint64_t more = s->octets - told->octets;
	add_record(s, t, more > UINT32_MAX ? UINT32_MAX : (uint32_t)more, TCP_PROGRESS);
	*told = (struct progress){ t, s->octets };
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 &&
	    info.tcpi_total_retrans != s->retransmitted) {
		s->retransmitted = info.tcpi_total_retrans;
		add_record(s, t, s->retransmitted, TCP_RETRANSMITTED);
	}
}

static void *run_tcp_sink(void *argument)
{
	struct stream *s = argument;
	uint8_t data[TCP_CHUNK];
	struct progress told = { .t = now() };
	int64_t last = 0;
	int fd = -1;

	for (bool stopping = false, idle = false; !s->whole && !s->broken && !(stopping && idle);) {
		struct pollfd wait[2] = { { .fd = fd < 0 ? s->fd : fd, .events = POLLIN },
					  { .fd = s->wake, .events = POLLIN } };
		stopping = s->stop; /* before the poll: what had come until then is read */
		idle = poll(wait, 2, stopping ? 0 : 250) >= 0 && !wait[0].revents;
		int64_t t = now();
		if (fd < 0) {
			if (!idle && (fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0)
				s->connected = true;
			continue;
		}
		ssize_t got = idle ? -1 : recv(fd, data, sizeof data, MSG_DONTWAIT);
		if (got > 0) {
			note_stall(s, last, t, TCP_STALL);
			last = t;
			if (!s->octets)
				say("\"kind\":\"flowing\",\"id\":%d", s->id);
		} else if (got == 0) {
			s->whole = true;
		} else if (!idle && errno != EAGAIN && errno != EINTR) {
			s->broken = errno;
		}
		for (ssize_t i = 0; i < got; i++, s->octets++)
			if (data[i] != ramp(s, s->octets) && s->corrupt++ == 0)
				s->first_corrupt = s->octets;
		note_progress(s, fd, &told, false);
	}
	if (!s->whole)
		note_stall(s, last, now(), TCP_SILENCE);
	if (fd >= 0) {
		note_progress(s, fd, &told, true);
		close(fd);
	}
	s->ended = true;
	return NULL;
}

static void *run_tcp_sender(void *argument)
{
	struct stream *s = argument;
	uint8_t data[TCP_CHUNK];
	struct pollfd wait[2] = { { .fd = s->fd, .events = POLLOUT },
				  { .fd = s->wake, .events = POLLIN } };
	socklen_t length = s->six ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
	socklen_t error_length = sizeof s->broken;
	int unread;

	if (connect(s->fd, (struct sockaddr *)&s->to, length) < 0 && errno != EINPROGRESS)
		s->broken = errno;
	while (!s->broken && !s->stop && poll(wait, 2, -1) >= 0 && !wait[0].revents)
		;
	if (!s->broken)
		getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &s->broken, &error_length);
	s->connected = !s->broken && wait[0].revents;
	int64_t start = now(), blocked = 0;
	struct progress told = { .t = start };
	while (s->connected && !s->broken && !s->stop &&
	       (!s->wanted_octets || s->octets < s->wanted_octets)) {
		int64_t t = now(), behind = t - start - (int64_t)((double)s->octets / s->rate * SECOND);
		if (behind > CATCH_UP) {
			start += behind - CATCH_UP;
			s->moved += behind - CATCH_UP;
			behind = CATCH_UP;
		}
		uint64_t due = (uint64_t)((double)behind * s->rate / SECOND);
		if (s->wanted_octets && due > s->wanted_octets - s->octets)
			due = s->wanted_octets - s->octets;
		if (behind <= 0 || due == 0) {
			poll(wait + 1, 1, TICK / 1000000);
			note_progress(s, s->fd, &told, false);
			continue;
		}
		size_t size = due < sizeof data ? (size_t)due : sizeof data;
		for (size_t i = 0; i < size; i++)
			data[i] = ramp(s, s->octets + i);
		ssize_t sent = send(s->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent > 0) {
			if (!s->octets)
				say("\"kind\":\"flowing\",\"id\":%d", s->id);
			s->octets += (uint64_t)sent;
			note_stall(s, blocked, t, TCP_STALL);
			blocked = 0;
			if ((uint64_t)sent == due)
				poll(wait + 1, 1, TICK / 1000000);
		} else if (errno == EAGAIN || errno == EINTR) {
			blocked = blocked ? blocked : t;
			poll(wait, 2, 250);
		} else {
			s->broken = errno;
		}
		note_progress(s, s->fd, &told, false);
	}
	note_stall(s, blocked, now(), TCP_SILENCE);
	if (s->connected) {
		shutdown(s->fd, SHUT_WR);
		int64_t give_up = now() + 2 * SECOND;
		while (ioctl(s->fd, SIOCOUTQ, &unread) == 0 && unread > 0 && now() < give_up && !s->broken)
			nanosleep(&(struct timespec){ 0, TICK }, NULL);
		/* A FIN that has not been acknowledged counts for one here, and is none. */
		s->unacknowledged = unread > 0 ? (uint64_t)unread : 0;
		note_progress(s, s->fd, &told, true);
	}
	s->ended = true;
	if (!s->stop)
		say("\"kind\":\"finished\",\"id\":%d,\"sent\":%llu,\"failed\":%d", s->id,
		    (unsigned long long)s->octets, s->broken);
	return NULL;
}

static struct stream *find_stream(int id)
{
	for (int i = 0; i < STREAMS; i++)
		if (streams[i].id == id)
			return &streams[i];
	return NULL;
}

static const char *totals(const struct stream *s)
{
	static char text[600]; /* only the main thread asks */
	int n = snprintf(text, sizeof text, "\"id\":%d,\"records\":%u,\"unrecorded\":%u,\"ended\":%s,",
			 s->id, s->count, s->refused, s->ended ? "true" : "false");
	if (s->tcp)
		snprintf(text + n, sizeof text - (size_t)n,
			 "\"role\":\"%s\",\"connected\":%d,\"whole\":%d,\"broken\":%d,\"octets\":%llu,"
			 "\"corrupt\":%llu,\"first_corrupt\":%lld,\"unacknowledged\":%llu,\"stalls\":%u,"
			 "\"longest_stall_ns\":%lld,\"retransmitted\":%u,\"moved_ns\":%lld",
			 s->sender ? "tcp-sender" : "tcp-sink", s->connected, s->whole, s->broken,
			 (unsigned long long)s->octets, (unsigned long long)s->corrupt,
			 s->corrupt ? (long long)s->first_corrupt : -1LL,
			 (unsigned long long)s->unacknowledged, s->stalls, (long long)s->longest_stall,
			 s->retransmitted, (long long)s->moved);
	else if (s->sender)
		snprintf(text + n, sizeof text - (size_t)n,
			 "\"role\":\"sender\",\"sent\":%u,\"failed\":%u,\"late\":%u,"
			 "\"largest_gap_ns\":%lld,\"moved_ns\":%lld",
			 s->sent, s->failed, s->late, (long long)s->largest_gap, (long long)s->moved);
	else
		snprintf(text + n, sizeof text - (size_t)n,
			 "\"role\":\"sink\",\"stamps\":\"kernel\",\"foreign\":%u,\"overrun\":%u",
			 s->foreign, s->overrun);
	return text;
}

static void end_stream(struct stream *s)
{
	if (s->fd < 0)
		return;
	s->stop = true;
	eventfd_write(s->wake, 1);
	pthread_join(s->thread, NULL);
	close(s->fd);
	close(s->wake);
	s->fd = -1;
}

static void forget_stream(struct stream *s)
{
	end_stream(s);
	free(s->records);
	*s = (struct stream){ 0 };
}

static int open_socket(struct stream *s, int port)
{
	int family = s->six ? AF_INET6 : AF_INET, on = 1, room = 8 << 20;
	struct sockaddr_storage local = { .ss_family = (sa_family_t)family };
	socklen_t length = s->six ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);

	if (s->icmp)
		s->fd = socket(family, SOCK_RAW | SOCK_CLOEXEC, s->six ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
	else if (s->tcp)
		s->fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	else
		s->fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (s->fd < 0)
		return errno;
	if (s->six)
		((struct sockaddr_in6 *)&local)->sin6_port = htons((uint16_t)port);
	else
		((struct sockaddr_in *)&local)->sin_port = htons((uint16_t)port);
	if (s->six && !s->icmp)
		setsockopt(s->fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
	if (s->six)
		setsockopt(s->fd, IPPROTO_IPV6, IPV6_TCLASS, &s->traffic_class, sizeof s->traffic_class);
	else
		setsockopt(s->fd, IPPROTO_IP, IP_TOS, &s->traffic_class, sizeof s->traffic_class);
	if (s->icmp) { /* a sink takes echo replies only, a sender nothing at all */
		struct icmp6_filter six;
		uint32_t four = s->sender ? ~0u : ~1u; /* ICMP_FILTER: a set bit blocks the type */
		ICMP6_FILTER_SETBLOCKALL(&six);
		if (!s->sender)
			ICMP6_FILTER_SETPASS(ICMP6_ECHO_REPLY, &six);
		if (s->six ? setsockopt(s->fd, IPPROTO_ICMPV6, ICMP6_FILTER, &six, sizeof six)
			   : setsockopt(s->fd, SOL_RAW, 1 /* ICMP_FILTER */, &four, sizeof four))
			return errno;
	}
	if (s->tcp) {
		setsockopt(s->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
		setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	} else {
		setsockopt(s->fd, SOL_SOCKET, s->sender ? SO_SNDBUFFORCE : SO_RCVBUFFORCE, &room,
			   sizeof room);
		setsockopt(s->fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
		setsockopt(s->fd, SOL_SOCKET, SO_RXQ_OVFL, &on, sizeof on);
	}
	if (bind(s->fd, (struct sockaddr *)&local, length) < 0)
		return errno;
	return s->tcp && !s->sender && listen(s->fd, 1) < 0 ? errno : 0;
}

static const char *start_stream(struct stream *s, int port)
{
	void *(*run)(void *) = s->tcp ? s->sender ? run_tcp_sender : run_tcp_sink
			       : s->sender ? run_sender : run_sink;
	int error = open_socket(s, port);

	s->wake = eventfd(0, EFD_CLOEXEC);
	pthread_mutex_init(&s->lock, NULL);
	if (!error)
		error = pthread_create(&s->thread, NULL, run, s);
	/* A sender has to keep its schedule while the kernel probes or removes a device: with
	 * preempt=full, a thread of this class runs in between. Not allowed, it is only later. */
	if (!error && s->sender && !s->tcp)
		pthread_setschedparam(s->thread, SCHED_FIFO, &(struct sched_param){ .sched_priority = 1 });
	if (!error)
		return NULL;
	if (s->fd >= 0)
		close(s->fd);
	close(s->wake);
	s->id = 0;
	return strerror(error);
}

/* ---- commands ---------------------------------------------------------------------------- */
static int beacon_ms;
static int64_t beacon_due;
static bool quitting;
static struct {
	struct stream *of; /* NULL: none going on */
	uint32_t at, count, crc;
	char re[32];
} dump;

static uint32_t crc32(uint32_t crc, const uint8_t *data, size_t length)
{
	for (crc = ~crc; length--; data++) {
		crc ^= *data;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
	}
	return ~crc;
}

/* Write the next piece of the dump that is going on, unless enough lines wait already. */
static void dump_more(void)
{
	enum { PIECE = 192 }; /* records: 3072 octets, 4096 in base64, no padding */
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint8_t raw[PIECE * sizeof(struct record) + 2];
	char text[sizeof raw / 3 * 4 + 5], *out = text;

	while (dump.of && lines_waiting() < 32) {
		uint32_t n = dump.count - dump.at < PIECE ? dump.count - dump.at : PIECE;
		size_t size = n * sizeof(struct record);
		if (n == 0) {
			say("\"kind\":\"end\",\"count\":%u,\"crc32\":%u,%s%s", dump.count, dump.crc,
			    totals(dump.of), dump.re);
			dump.of = NULL;
			return;
		}
		memset(raw, 0, sizeof raw);
		pthread_mutex_lock(&dump.of->lock); /* a running stream may move the array */
		memcpy(raw, dump.of->records + dump.at, size);
		pthread_mutex_unlock(&dump.of->lock);
		dump.crc = crc32(dump.crc, raw, size);
		out = text;
		for (size_t i = 0; i < size; i += 3) {
			uint32_t v = (uint32_t)raw[i] << 16 | (uint32_t)raw[i + 1] << 8 | raw[i + 2];
			for (int shift = 18; shift >= 0; shift -= 6)
				*out++ = digits[v >> shift & 63];
		}
		for (size_t pad = (3 - size % 3) % 3, i = 1; i <= pad; i++)
			out[-(long)i] = '=';
		*out = 0;
		say("\"kind\":\"data\",\"id\":%d,\"at\":%u,\"b64\":\"%s\"%s", dump.of->id, dump.at, text,
		    dump.re);
		dump.at += n;
	}
}

/* A whole number from LOW to HIGH; -1 for anything else. */
static long number(const char *text, long low, long high)
{
	char *end;
	errno = 0;
	long value = text ? strtol(text, &end, 10) : -1;
	return !text || errno || end == text || *end || value < low || value > high ? -1 : value;
}

/* The port, 0 for `icmp` where that is allowed, -1 for anything else. */
static long port_number(const char *text, bool icmp)
{
	return icmp && text && !strcmp(text, "icmp") ? 0 : number(text, 1, 65535);
}

static const char *open_sink(char **w, bool tcp)
{
	long port = port_number(w[2], !tcp), version = w[3] ? number(w[3], 4, 6) : 4;
	long id = number(w[1], port ? 1 : ECHO_REPLIES + 1, port ? 65535 : ECHO_REPLIES + 65535);
	struct stream *s = id > 0 && !find_stream((int)id) ? find_stream(0) : NULL;

	if (id < 0 || port < 0 || version < 0 || version == 5)
		return "usage: sink ID PORT [4|6], sink ID+65536 icmp [4|6], tcp-sink ID PORT [4|6]";
	if (!s)
		return "the stream exists already, or there are too many";
	*s = (struct stream){ .id = (int)id, .six = version == 6, .icmp = port == 0, .tcp = tcp };
	return start_stream(s, (int)port);
}

/* Take in DST and PORT; what is wrong with them. */
static const char *set_target(struct stream *s, const char *address, long port)
{
	struct sockaddr_in *four = (void *)&s->to;
	struct sockaddr_in6 *six = (void *)&s->to;

	if (inet_pton(AF_INET, address, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		four->sin_port = htons((uint16_t)port);
	} else if (inet_pton(AF_INET6, address, &six->sin6_addr) == 1) {
		six->sin6_family = AF_INET6;
		/* of a raw socket's target the port is the protocol, or 0 */
		six->sin6_port = htons((uint16_t)port);
		s->six = true;
	} else {
		return "DST is not an IP address";
	}
	return NULL;
}

static const char *open_sender(char **w)
{
	static const char usage[] = "usage: send ID DST PORT RATE SIZE COUNT [SRCPORT [DSCP]]";
	for (int i = 2; i <= 6; i++)
		if (!w[i])
			return usage;
	long id = number(w[1], 1, 65535), port = port_number(w[3], true);
	long size = number(w[5], 28, 65535), count = number(w[6], 0, UINT32_MAX);
	long source = w[7] ? number(w[7], 0, 65535) : 0;
	long dscp = w[7] && w[8] ? number(w[8], 0, 63) : 0;
	double rate = atof(w[4]);
	struct stream *s = id > 0 && !find_stream((int)id) ? find_stream(0) : NULL;
	if (id < 0 || port < 0 || count < 0 || source < 0 || dscp < 0 || !(rate >= 0.1 && rate <= 1e6))
		return usage;
	if (!s)
		return "the stream exists already, or there are too many";
	struct stream fresh = { .sender = true, .icmp = port == 0, .wanted = (uint32_t)count,
				.size = (uint32_t)size, .traffic_class = (int)dscp << 2,
				.period = (int64_t)((double)SECOND / rate) };
	const char *problem = set_target(&fresh, w[2], port);
	if (problem)
		return problem;
	if (size < (long)sizeof(struct numbered) + (fresh.six ? 48 : 28))
		return "SIZE is too small for the numbered payload";
	*s = fresh;
	s->id = (int)id;
	return start_stream(s, fresh.icmp ? 0 : (int)source);
}

static const char *open_tcp_sender(char **w)
{
	static const char usage[] = "usage: tcp-send ID DST PORT RATE [OCTETS [DSCP]]";
	if (!w[2] || !w[3] || !w[4])
		return usage;
	long id = number(w[1], 1, 65535), port = port_number(w[3], false);
	long octets = w[5] ? number(w[5], 0, INT64_MAX) : 0;
	long dscp = w[5] && w[6] ? number(w[6], 0, 63) : 0;
	double rate = atof(w[4]);
	struct stream *s = id > 0 && !find_stream((int)id) ? find_stream(0) : NULL;
	if (id < 0 || port < 0 || octets < 0 || dscp < 0 || !(rate >= 1 && rate <= 1e9))
		return usage;
	if (!s)
		return "the stream exists already, or there are too many";
	struct stream fresh = { .sender = true, .tcp = true, .rate = rate,
				.wanted_octets = (uint64_t)octets, .traffic_class = (int)dscp << 2 };
	const char *problem = set_target(&fresh, w[2], port);
	if (problem)
		return problem;
	*s = fresh;
	s->id = (int)id;
	return start_stream(s, 0);
}

/* What this program has cost: its processor time (of all threads, in the kernel too, but not
 * that of interrupts), its largest memory, its octets over the port. VmHWM, because ru_maxrss is
 * inherited from the shell that became this program. */
static struct {
	uint64_t in, out;
} port_octets;

static void say_load(const char *re)
{
	char line[128];
	long long peak = 0;
	FILE *status = fopen("/proc/self/status", "r");

	while (status && fgets(line, sizeof line, status))
		if (sscanf(line, "VmHWM: %lld", &peak) == 1)
			break;
	if (status)
		fclose(status);
	say("\"kind\":\"load\",\"guest_ns\":%lld,\"cpu_ns\":%lld,\"peak_octets\":%lld,"
	    "\"sent_octets\":%llu,\"received_octets\":%llu%s",
	    (long long)now(), (long long)clock_ns(CLOCK_PROCESS_CPUTIME_ID), peak * 1024,
	    (unsigned long long)port_octets.out, (unsigned long long)port_octets.in, re);
}

static char **arguments; /* of main */

/* Two guests loaded from one state would make the same keys and think it is the hour of the save.
 * What this program knows is of the guest that was saved: its successor knows nothing. */
static const char *begin_afresh(const char *real, const char *seed)
{
	static struct {
		struct rand_pool_info info;
		unsigned char octets[64];
	} pool;
	unsigned char octet;
	int size = 0, fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);

	for (; size < 64 && sscanf(seed + 2 * size, "%2hhx", &octet) == 1; size++)
		pool.octets[size] = octet;
	if (fd < 0 || size < 16)
		return fd < 0 ? "no /dev/urandom" : "a seed is 16 octets at least";
	pool.info.entropy_count = 8 * size;
	pool.info.buf_size = size;
	if (ioctl(fd, RNDADDENTROPY, &pool) < 0)
		return "RNDADDENTROPY was refused";
	/* ENODATA: it is not seeded yet, and will take what was just given. */
	if (ioctl(fd, RNDRESEEDCRNG) < 0 && errno != ENODATA)
		return "RNDRESEEDCRNG was refused";
	if (strcmp(real, "-")) {
		long long ns = strtoll(real, NULL, 10);
		struct timespec t = { .tv_sec = ns / SECOND, .tv_nsec = ns % SECOND };
		if (ns <= 0 || clock_settime(CLOCK_REALTIME, &t) < 0)
			return "the clock was not set";
	}
	execv("/proc/self/exe", arguments);
	return "it cannot be started anew";
}

static void obey(char *line)
{
	char *w[10] = { 0 }, *save = NULL, re[32] = "";
	const char *problem = NULL;
	int count = 0;

	char *word = strtok_r(line, " \t\r", &save);
	if (word && *word == '@') {
		if (number(word + 1, 0, INT32_MAX) >= 0)
			snprintf(re, sizeof re, ",\"re\":%ld", number(word + 1, 0, INT32_MAX));
		word = strtok_r(NULL, " \t\r", &save);
	}
	for (; word && count < 9; word = strtok_r(NULL, " \t\r", &save))
		w[count++] = word;
	if (!count)
		return;
	const char *verb = w[0];
	struct stream *s = count > 1 && number(w[1], 1, 2 * ECHO_REPLIES) > 0 ? find_stream(atoi(w[1])) : NULL;
	if (!strcmp(verb, "ping")) {
		say("\"kind\":\"pong\",\"mono\":%lld,\"boot\":%lld,\"real\":%lld%s", (long long)now(),
		    (long long)clock_ns(CLOCK_BOOTTIME), (long long)clock_ns(CLOCK_REALTIME), re);
		return;
	}
	if (!strcmp(verb, "load")) {
		say_load(re);
		return;
	}
	if (!strcmp(verb, "beacon") && (beacon_ms = (int)number(w[1], 0, 60000)) >= 0) {
		beacon_due = now();
	} else if (!strcmp(verb, "links")) {
		pthread_mutex_lock(&links_lock);
		int64_t t = now();
		for (struct netdev *link = links; link < links + LINKS; link++)
			if (link->index)
				say_link("state", link, t, false);
		pthread_mutex_unlock(&links_lock);
	} else if (!strcmp(verb, "sink")) {
		problem = open_sink(w, false);
	} else if (!strcmp(verb, "tcp-sink")) {
		problem = open_sink(w, true);
	} else if (!strcmp(verb, "tcp-send")) {
		problem = open_tcp_sender(w);
	} else if (!strcmp(verb, "send")) {
		problem = open_sender(w);
	} else if (!strcmp(verb, "stop") && s) {
		end_stream(s);
		say("\"kind\":\"stopped\",%s%s", totals(s), re);
		return;
	} else if (!strcmp(verb, "dump") && s) {
		if (!dump.of) {
			pthread_mutex_lock(&s->lock);
			dump.of = s, dump.at = 0, dump.crc = 0, dump.count = s->count;
			pthread_mutex_unlock(&s->lock);
			memcpy(dump.re, re, sizeof re);
			return; /* its answer is the "end" line */
		}
		problem = "another dump is going on";
	} else if (!strcmp(verb, "forget") && s) {
		if (dump.of == s)
			problem = "it is being dumped";
		else
			forget_stream(s);
	} else if (!strcmp(verb, "stop") || !strcmp(verb, "dump") || !strcmp(verb, "forget")) {
		problem = "there is no such stream";
	} else if (!strcmp(verb, "reset")) {
		dump.of = NULL;
		for (struct stream *each = streams; each < streams + STREAMS; each++)
			if (each->id)
				forget_stream(each);
	} else if (!strcmp(verb, "again") && w[1]) {
		uint64_t from = strtoull(w[1], NULL, 10);
		pthread_mutex_lock(&queue.lock);
		/* room for the answer to this command and some more before the rewind is done */
		if (from <= queue.next_out && from + SLOTS > queue.next_in + 64)
			queue.rewind = from;
		else
			problem = "these lines are not kept any more";
		pthread_mutex_unlock(&queue.lock);
	} else if (!strcmp(verb, "afresh") && w[1] && w[2]) {
		problem = begin_afresh(w[1], w[2]);
	} else if (!strcmp(verb, "quit")) {
		quitting = true;
	} else {
		beacon_ms = beacon_ms < 0 ? 0 : beacon_ms;
		problem = "unknown command, or wrong arguments";
	}
	char shown[24];
	snprintf(shown, sizeof shown, "%s", verb);
	if (problem)
		say("\"kind\":\"error\",\"command\":\"%s\",\"text\":\"%s\"%s", clean(shown), problem, re);
	else
		say("\"kind\":\"ok\",\"command\":\"%s\"%s", clean(shown), re);
}

/* ---- the port ---------------------------------------------------------------------------- */
static int port_in = -1, port_out = -1;
static bool is_socket;

/* Without the host's end, poll reports a virtio-serial port ready at once and read ends the
 * file; nothing but time tells when the host is back, so look again this often. */
static void pause_ms(long ms)
{
	nanosleep(&(struct timespec){ 0, ms * 1000000 }, NULL);
}

static bool open_port(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct stat status;

	if (!strcmp(path, "-")) {
		port_in = 0, port_out = 1;
		fcntl(0, F_SETFL, O_NONBLOCK);
		fcntl(1, F_SETFL, O_NONBLOCK);
		return true;
	}
	is_socket = stat(path, &status) == 0 && S_ISSOCK(status.st_mode);
	if (is_socket) {
		port_in = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
		if (connect(port_in, (struct sockaddr *)&address, sizeof address) < 0) {
			close(port_in);
			port_in = -1;
			return false;
		}
		fcntl(port_in, F_SETFL, O_NONBLOCK);
	} else if ((port_in = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY)) < 0) {
		return false;
	}
	port_out = port_in;
	return true;
}

/* Write what waits; a line at a time, so that a virtio-serial port takes it whole or not at
 * all. `*done` is how much of the first line is written. False: the connection is lost. */
static bool write_lines(size_t *done)
{
	for (;;) {
		pthread_mutex_lock(&queue.lock);
		if (*done == 0 && queue.rewind <= queue.next_out) {
			/* lines put since the command may have taken the oldest slots */
			uint64_t kept = queue.next_in < SLOTS ? 0 : queue.next_in - SLOTS;
			queue.next_out = queue.rewind > kept ? queue.rewind : kept;
			queue.rewind = UINT64_MAX;
		}
		uint64_t n = queue.next_out;
		char *line = n < queue.next_in ? queue.line[n % SLOTS] : NULL;
		pthread_mutex_unlock(&queue.lock);
		if (!line) /* a waiting line's slot is not reused, so `line` stays valid unlocked */
			return true;
		size_t length = strlen(line);
		ssize_t wrote = write(port_out, line + *done, length - *done);
		if (wrote < 0)
			return errno == EAGAIN || errno == EINTR;
		*done += (size_t)wrote;
		port_octets.out += (uint64_t)wrote;
		if (*done == length) {
			*done = 0;
			pthread_mutex_lock(&queue.lock);
			queue.next_out++;
			pthread_mutex_unlock(&queue.lock);
		}
	}
}

static int serve(const char *path)
{
	char input[1024];
	size_t held = 0, done = 0;
	bool too_long = false;
	int64_t give_up = 0;

	while (!give_up || (lines_waiting() && now() < give_up)) {
		if (port_in < 0 && !open_port(path)) {
			pause_ms(50);
			continue;
		}
		if (quitting && !give_up)
			give_up = now() + SECOND;
		if (beacon_ms > 0 && now() >= beacon_due) {
			if (!lines_waiting()) /* a stale beacon is worth nothing */
				say("\"kind\":\"beacon\",\"mono\":%lld", (long long)now());
			beacon_due = now() + beacon_ms * 1000000LL;
		}
		dump_more();
		int64_t t = now(), due = tend_messages(t);
		bool listening = wants_messages();
		struct pollfd wait[4] = {
			{ .fd = port_in, .events = POLLIN },
			{ .fd = queue.wake, .events = POLLIN },
			{ .fd = lines_waiting() ? port_out : -1, .events = POLLOUT },
			{ .fd = listening ? kernel.in : -1, .events = POLLIN }
		};
		int patience = give_up ? 10 : beacon_ms > 0 ? beacon_ms : -1;
		if (due && (patience < 0 || due - t < patience * 1000000LL))
			patience = due > t ? (int)((due - t) / 1000000) + 1 : 0;
		if (poll(wait, 4, patience) < 0) {
			if (errno != EINTR)
				return 1;
			continue; /* nothing was looked at */
		}
		if (wait[3].revents)
			read_messages();
		else if (listening)
			kernel.empty = t;
		eventfd_t ignored;
		if (wait[1].revents)
			eventfd_read(queue.wake, &ignored);
		bool lost = !write_lines(&done);
		if (wait[0].revents) {
			ssize_t got = read(port_in, input + held, sizeof input - 1 - held);
			lost |= got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR);
			held += got > 0 ? (size_t)got : 0;
			port_octets.in += got > 0 ? (uint64_t)got : 0;
		}
		for (char *end; (end = memchr(input, '\n', held));) {
			*end = 0;
			if (!too_long)
				obey(input);
			too_long = false;
			held -= (size_t)(end + 1 - input);
			memmove(input, end + 1, held);
		}
		if (held == sizeof input - 1) {
			if (!too_long)
				say("\"kind\":\"error\",\"text\":\"a command was too long\"");
			too_long = true;
			held = 0;
		}
		if (lost && port_in == 0)
			quitting = true; /* stdin has ended: a test is over */
		else if (lost && is_socket) {
			close(port_in);
			port_in = port_out = -1;
			done = 0; /* the next connection gets the cut line whole */
		}
		if (lost) {
			held = 0; /* half a command will not be finished by another connection */
			pause_ms(quitting ? 1 : 20);
		}
	}
	return 0;
}

int main(int argc, char **argv)
{
	pthread_t thread;

	if (argc < 3 || argc > 4 || strcmp(argv[1], "daemon")) {
		fprintf(stderr, "usage: labprobe daemon PORT [KMSG]\n");
		return 2;
	}
	arguments = argv;
	signal(SIGPIPE, SIG_IGN);
	queue.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	say("\"kind\":\"hello\",\"version\":1,\"instance\":%lld", (long long)now());
	if (pthread_create(&thread, NULL, follow_netlink, NULL)) {
		perror("labprobe: no thread for netlink");
		return 1;
	}
	open_kernel_log(argc > 3 ? argv[3] : "/dev/kmsg");
	return serve(argv[2]);
}
