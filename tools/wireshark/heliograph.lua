-- SPDX-License-Identifier: Apache-2.0
--
-- Heliograph for Wireshark and tshark 4.0: the handshake on UDP port 47000, ESP in UDP on 47001 to 47064, and, once
-- ESP is decrypted, the transport header and every frame behind next header 253. Fields are named as in
-- docs/wire-format.md and docs/wire-security.md. What does not parse there is malformed here (heliograph.malformed).
-- docs/operations.md says how to use it and where the keys come from.

local VERSION, HANDSHAKE_VERSION = 3, 2
local FLAG_FEC = 1
local HEADER_BYTES, PLACE_BYTES, DATA_BYTES = 2, 8, 16
local WORKERS_MAX = 64
local ACK_RANGES_MAX = 128
local RECOVERED_MAX = 16
local FEC_SOURCES_MAX, FEC_PARITY_MAX, FEC_DEPTH_MAX = 32, 8, 16
local UNIT_BYTES = 64
local BATCH_ALIGN_BYTES = 16
local BATCH_BYTES_MIN = 192
local BATCH_BYTES_MAX = 1053448 -- HG_BATCH_BYTES_MAX of dataplane/wal/format.h

local heliograph = Proto("heliograph", "Heliograph transport")
local types = { [0] = "PADDING", [1] = "PING", [2] = "DATA", [3] = "ACK", [4] = "RECOVERED",
    [32] = "PARITY", [16] = "STREAM_OPEN", [17] = "STREAM_ANSWER",
    [18] = "STREAM_DURABLE", [19] = "STREAM_CLOSE", [20] = "STREAM_REFUSE", [21] = "STREAM_NEEDED",
    [22] = "STREAM_COMMITTED", [23] = "STREAM_HISTORY",
    [24] = "STREAM_CUT", [25] = "GROUP_SEAL", [26] = "GROUP_TAIL", [27] = "STREAM_FILL", [28] = "STREAM_HORIZON",
    [30] = "LOG_REPAIR_ASK", [31] = "LOG_REPAIR_DATA" }
local statuses = { [0] = "OK", [1] = "REFUSED_UNKNOWN", [2] = "REFUSED_SYSTEM", [3] = "REFUSED_EPOCH",
    [4] = "REFUSED_INCARNATION", [5] = "REFUSED_LIMIT", [6] = "REFUSED_BATCH", [7] = "CLOSED_WITHDRAWN",
    [8] = "CLOSED_DIVERGED", [9] = "CLOSED_GAP", [10] = "ELSEWHERE", [11] = "MOVED",
    [12] = "REFUSED_HISTORY", [13] = "REFUSED_MEMBERS" }
local handshake_types = { [1] = "HELLO", [2] = "REPLY", [3] = "CONFIRM" }

-- A table is a run of {name, bytes, kind, values}, in the order of the wire; the fields are made from it.
local function layout(proto, prefix, rows)
    for _, row in ipairs(rows) do
        local name, bytes, kind = row[1], row[2], row[3]
        local abbreviation = prefix .. "." .. name
        if kind == "text" then
            row.field = ProtoField.stringz(abbreviation, name)
        elseif kind == "bytes" then
            row.field = ProtoField.bytes(abbreviation, name)
        else
            local make = ({ [1] = ProtoField.uint8, [2] = ProtoField.uint16, [4] = ProtoField.uint32,
                [8] = ProtoField.uint64 })[bytes]
            row.field = make(abbreviation, name, kind == "hex" and base.HEX or base.DEC, row[4])
        end
        table.insert(proto, row.field)
    end
    return rows
end

local transport_fields, handshake_fields = {}, {}
local header = layout(transport_fields, "heliograph", {
    { "version", 1 }, { "flags", 1, "hex" } })
local place = layout(transport_fields, "heliograph.fec", {
    { "group", 4 }, { "index", 1 }, { "k", 1 }, { "m", 1 }, { "depth", 1 } })
local frame_type = layout(transport_fields, "heliograph", { { "type", 1, "dec", types } })
local data = layout(transport_fields, "heliograph.data", {
    { "batch_grains_high", 1 }, { "alias", 2 }, { "bytes", 2 }, { "offset_units", 2 }, { "batch_grains", 2 },
    { "lsn_first_high", 2 }, { "lsn_first_low", 4 } })
-- What the packed fields say.
local data_offset = ProtoField.uint32("heliograph.data.offset", "offset")
local data_batch_bytes = ProtoField.uint32("heliograph.data.batch_bytes", "batch_bytes")
local data_lsn_first = ProtoField.uint64("heliograph.data.lsn_first", "lsn_first, low 48 bits")
for _, field in ipairs({ data_offset, data_batch_bytes, data_lsn_first }) do
    table.insert(transport_fields, field)
end
local ack = layout(transport_fields, "heliograph.ack", {
    { "range_count", 1 }, { "delay_8us", 2 }, { "first_count", 4 }, { "largest", 8 }, { "credit_bytes", 8 },
    { "ecn_ce", 4 }, { "ecn_ect", 4 } })
local ack_range = layout(transport_fields, "heliograph.ack", { { "gap", 4 }, { "count", 4 } })
local recovered = layout(transport_fields, "heliograph.recovered", { { "count", 1 }, { "reserved", 2 } })
local recovered_number = layout(transport_fields, "heliograph.recovered", { { "number", 8 } })
local parity = layout(transport_fields, "heliograph.parity", { { "reserved", 1 }, { "bytes", 2 } })
local parity_symbol = ProtoField.bytes("heliograph.parity.symbol", "symbol")
table.insert(transport_fields, parity_symbol)
local control = layout(transport_fields, "heliograph.control", { { "opening", 1 }, { "bytes", 2 }, { "alias", 4 } })
local bodies = {
    [16] = layout(transport_fields, "heliograph.stream_open", {
        { "stream", 8 }, { "incarnation", 4 }, { "group", 4 }, { "epoch", 8 }, { "lsn_begin", 8 },
        { "lsn_durable", 8 }, { "system_identifier", 8 }, { "kind", 2 }, { "region", 2 }, { "lsn_unit_bytes", 4 },
        { "name", 32, "text" }, { "generation", 8 } }),
    [17] = layout(transport_fields, "heliograph.stream_answer", {
        { "status", 2, "dec", statuses }, { "worker", 2 }, { "incarnation", 4 }, { "lsn_durable", 8 }, { "epoch", 8 },
        { "chain", 16, "bytes" }, { "log_uuid", 16, "bytes" }, { "generation", 8 }, { "flags", 4 },
        { "reserved", 4 } }),
    [18] = layout(transport_fields, "heliograph.stream_durable", { { "lsn_durable", 8 } }),
    [19] = layout(transport_fields, "heliograph.stream_close", { { "reason", 4, "dec", statuses },
        { "reserved", 4 } }),
    [20] = layout(transport_fields, "heliograph.stream_refuse", { { "reason", 4, "dec", statuses },
        { "reserved", 4 } }),
    [21] = layout(transport_fields, "heliograph.stream_needed", { { "lsn_needed", 8 } }),
    [22] = layout(transport_fields, "heliograph.stream_committed", { { "lsn_committed", 8 } }),
    [23] = layout(transport_fields, "heliograph.stream_history", {
        { "epoch", 8 }, { "lsn_begin", 8 }, { "lsn_end", 8 }, { "chain", 16, "bytes" }, { "epoch_count", 4 }, { "reserved", 4 },
        { "epoch_0", 8 }, { "lsn_0", 8 }, { "epoch_1", 8 }, { "lsn_1", 8 }, { "epoch_2", 8 }, { "lsn_2", 8 },
        { "epoch_3", 8 }, { "lsn_3", 8 }, { "epoch_4", 8 }, { "lsn_4", 8 }, { "epoch_5", 8 }, { "lsn_5", 8 },
        { "epoch_6", 8 }, { "lsn_6", 8 }, { "epoch_7", 8 }, { "lsn_7", 8 } }),
    [24] = layout(transport_fields, "heliograph.stream_cut", {
        { "epoch", 8 }, { "lsn", 8 }, { "chain", 16, "bytes" }, { "epoch_common", 8 }, { "lsn_epoch", 8 } }),
    [25] = layout(transport_fields, "heliograph.group_seal", { { "epoch", 8 }, { "group", 4 }, { "reserved", 4 } }),
    [26] = layout(transport_fields, "heliograph.group_tail", {
        { "epoch", 8 }, { "epoch_promised", 8 }, { "stream", 8 }, { "lsn_end", 8 }, { "chain", 16, "bytes" },
        { "log_uuid", 16, "bytes" }, { "group", 4 }, { "streams", 2 }, { "log", 1 }, { "logs", 1 }, { "unknown", 1 },
        { "epoch_count", 1 }, { "corrupt", 1 }, { "reserved", 5, "bytes" }, { "corrupt_first", 8 }, { "corrupt_end", 8 },
        { "lsn_floor", 8 },
        { "epoch_0", 8 }, { "lsn_0", 8 }, { "epoch_1", 8 }, { "lsn_1", 8 }, { "epoch_2", 8 }, { "lsn_2", 8 },
        { "epoch_3", 8 }, { "lsn_3", 8 }, { "epoch_4", 8 }, { "lsn_4", 8 }, { "epoch_5", 8 }, { "lsn_5", 8 },
        { "epoch_6", 8 }, { "lsn_6", 8 }, { "epoch_7", 8 }, { "lsn_7", 8 } }),
    [27] = layout(transport_fields, "heliograph.stream_fill", { { "stream", 8 }, { "epoch", 8 } }),
    [28] = layout(transport_fields, "heliograph.stream_horizon", {
        { "stream", 8 }, { "lsn_begin", 8 }, { "lsn", 8 }, { "epoch", 8 }, { "epoch_lsn", 8 }, { "incarnation", 4 },
        { "epoch_known", 4 }, { "chain", 16, "bytes" } }),
    [30] = layout(transport_fields, "heliograph.log_repair_ask", {
        { "stream", 8 }, { "epoch", 8 }, { "lsn_end", 8 }, { "chain", 16, "bytes" }, { "incarnation", 4 },
        { "batch_bytes", 4 }, { "offset", 4 }, { "bytes", 4 } }),
    [31] = layout(transport_fields, "heliograph.log_repair_data", {
        { "stream", 8 }, { "lsn_end", 8 }, { "chain", 16, "bytes" }, { "offset", 4 }, { "bytes", 2 }, { "status", 2 },
        { "data", 208, "bytes" } }),
}
local data_data = ProtoField.bytes("heliograph.data.data", "data")
local padding = ProtoField.bytes("heliograph.padding", "padding")
table.insert(transport_fields, data_data)
table.insert(transport_fields, padding)
heliograph.fields = transport_fields

local malformed = ProtoExpert.new("heliograph.malformed", "malformed: a receiver drops the whole packet",
    expert.group.MALFORMED, expert.severity.ERROR)
heliograph.experts = { malformed }

-- Adds the fields of a layout whose bytes are known to be there; returns where they end.
local function add(tree, rows, tvb, at)
    for _, row in ipairs(rows) do
        local range = tvb(at, row[2])
        if row[3] == "text" or row[3] == "bytes" then
            tree:add(row.field, range)
        else
            tree:add_le(row.field, range)
        end
        at = at + row[2]
    end
    return at
end

-- Each shape_ function returns the bytes of the frame at `at`, of which `left` are there, or nil and why it doesn't
-- parse: the rules of dataplane/transport/lane_receive.c, which drops the packet then.
local function offset_of(tvb, at)
    return tvb(at + 6, 2):le_uint() * UNIT_BYTES
end

local function batch_bytes_of(tvb, at)
    return (tvb(at + 1, 1):uint() * 65536 + tvb(at + 8, 2):le_uint()) * BATCH_ALIGN_BYTES
end

local function shape_data(tvb, at, left)
    if left < DATA_BYTES then
        return nil, "a DATA frame of less than " .. DATA_BYTES .. " bytes"
    end
    local bytes, offset, batch_bytes = tvb(at + 4, 2):le_uint(), offset_of(tvb, at), batch_bytes_of(tvb, at)
    local finish = offset + bytes
    if bytes == 0 or bytes > left - DATA_BYTES then
        return nil, "DATA of " .. bytes .. " bytes where " .. (left - DATA_BYTES) .. " are left"
    elseif tvb(at + 1, 1):uint() > 1 or batch_bytes < BATCH_BYTES_MIN or batch_bytes > BATCH_BYTES_MAX then
        return nil, "no batch has " .. batch_bytes .. " bytes"
    elseif finish > batch_bytes or (finish % UNIT_BYTES ~= 0 and finish ~= batch_bytes) then
        return nil, "a fragment at " .. offset .. " of " .. bytes .. " bytes can't be one of " .. batch_bytes
    end
    return DATA_BYTES + bytes
end

local function shape_ack(tvb, at, left)
    if left < 32 then
        return nil, "an ACK frame of less than 32 bytes"
    end
    local count = tvb(at + 1, 1):uint()
    local bytes = 32 + (count - 1) * 8
    if count == 0 or count > ACK_RANGES_MAX or bytes > left then
        return nil, "an ACK of " .. count .. " ranges in " .. left .. " bytes"
    end
    local below, first = tvb(at + 8, 8):le_uint64(), UInt64(tvb(at + 4, 4):le_uint(), 0)
    if first == UInt64(0, 0) or below < first then
        return nil, "an ACK of packets below 1"
    end
    below = below - first
    for i = 1, count - 1 do
        local gap = UInt64(tvb(at + 24 + i * 8, 4):le_uint(), 0)
        local packets = UInt64(tvb(at + 28 + i * 8, 4):le_uint(), 0)
        if gap == UInt64(0, 0) or packets == UInt64(0, 0) or below < gap + packets then
            return nil, "range " .. i .. " of an ACK is empty or reaches below packet 1"
        end
        below = below - gap - packets
    end
    return bytes
end

local function shape_recovered(tvb, at, left)
    if left < 4 then
        return nil, "a RECOVERED frame of less than 4 bytes"
    end
    local count = tvb(at + 1, 1):uint()
    local bytes = 4 + count * 8
    if count == 0 or count > RECOVERED_MAX or bytes > left or tvb(at + 2, 2):le_uint() ~= 0 then
        return nil, "RECOVERED of " .. count .. " packets in " .. left .. " bytes"
    end
    local above = nil
    for i = 0, count - 1 do
        local number = tvb(at + 4 + i * 8, 8):le_uint64()
        if number == UInt64(0, 0) or (above ~= nil and not (number < above))
            or number == UInt64(0xffffffff, 0xffffffff) then
            return nil, "numbers of RECOVERED that don't fall, or 0"
        end
        above = number
    end
    return bytes
end

local function shape_control(tvb, at, left)
    if left < 8 then
        return nil, "a control frame of less than 8 bytes"
    end
    local bytes = tvb(at + 2, 2):le_uint()
    if bytes < 8 or bytes > 256 or bytes % 4 ~= 0 or bytes > left then
        return nil, "a control frame of " .. bytes .. " bytes where " .. left .. " are left"
    end
    return bytes
end

local function shape(tvb, at, left)
    local kind = tvb(at, 1):uint()
    if kind <= 1 then
        return 1
    elseif kind == 2 then
        return shape_data(tvb, at, left)
    elseif kind == 3 then
        return shape_ack(tvb, at, left)
    elseif kind == 4 then
        return shape_recovered(tvb, at, left)
    elseif kind >= 16 and kind <= 31 then
        return shape_control(tvb, at, left)
    end
    return nil, "a frame of the unknown type " .. kind
end

local function body_bytes(rows)
    local bytes = 0
    for _, row in ipairs(rows) do
        bytes = bytes + row[2]
    end
    return bytes
end

local function add_frame(tree, tvb, at, bytes)
    local kind = tvb(at, 1):uint()
    local branch = tree:add(heliograph, tvb(at, bytes), types[kind] or ("unknown control frame " .. kind))
    add(branch, frame_type, tvb, at)
    if kind == 2 then
        local behind = add(branch, data, tvb, at + 1)
        branch:add(data_offset, tvb(at + 6, 2), offset_of(tvb, at)):set_generated()
        branch:add(data_batch_bytes, tvb(at + 8, 2), batch_bytes_of(tvb, at)):set_generated()
        branch:add(data_lsn_first, tvb(at + 10, 6), UInt64(tvb(at + 12, 4):le_uint(), tvb(at + 10, 2):le_uint()))
            :set_generated()
        branch:add(data_data, tvb(behind, at + bytes - behind))
    elseif kind == 3 then
        local behind = add(branch, ack, tvb, at + 1)
        while behind < at + bytes do
            behind = add(branch, ack_range, tvb, behind)
        end
    elseif kind == 4 then
        local behind = add(branch, recovered, tvb, at + 1)
        while behind < at + bytes do
            behind = add(branch, recovered_number, tvb, behind)
        end
    elseif kind == 32 then
        local behind = add(branch, parity, tvb, at + 1)
        branch:add(parity_symbol, tvb(behind, at + bytes - behind))
    elseif kind >= 16 then
        local behind = add(branch, control, tvb, at + 1)
        -- Another size than the type's is skipped by a receiver, so the body isn't read here either.
        if bodies[kind] ~= nil and bytes == 8 + body_bytes(bodies[kind]) then
            add(branch, bodies[kind], tvb, behind)
        else
            branch:append_text(" (skipped by a receiver)")
        end
    end
    return types[kind] or tostring(kind)
end

-- PADDING comes in runs of many single bytes: one item for a run.
local function padding_run(tvb, at, finish)
    local behind = at
    while behind < finish and tvb(behind, 1):uint() == 0 do
        behind = behind + 1
    end
    return behind - at
end

local function refuse(tree, pinfo, why)
    tree:add_proto_expert_info(malformed, "malformed: " .. why)
    pinfo.cols.info = "malformed: " .. why
end

local function header_problem(tvb)
    local flags = tvb(1, 1):uint()
    if tvb(0, 1):uint() ~= VERSION then
        return "version " .. tvb(0, 1):uint() .. ", not " .. VERSION
    elseif flags > FLAG_FEC then
        return "unknown flags in the header"
    elseif flags == FLAG_FEC and tvb:len() < HEADER_BYTES + PLACE_BYTES then
        return "a packet in a group that ends before its place in it"
    end
    return nil
end

local function place_problem(tvb)
    local at = HEADER_BYTES + 4
    local index, k, m, depth = tvb(at, 1):uint(), tvb(at + 1, 1):uint(), tvb(at + 2, 1):uint(), tvb(at + 3, 1):uint()
    if k == 0 or k > FEC_SOURCES_MAX or m == 0 or m > FEC_PARITY_MAX or depth == 0 or depth > FEC_DEPTH_MAX
        or (index >= k and (index < FEC_SOURCES_MAX or index >= FEC_SOURCES_MAX + m)) then
        return "no packet is number " .. index .. " of " .. k .. " and " .. m .. " parities"
    end
    return nil
end

-- A parity is alone in its packet.
local function add_parity(tree, pinfo, tvb, at, finish)
    local left = finish - at
    if left < 4 or tvb(at, 1):uint() ~= 32 or tvb(at + 1, 1):uint() ~= 0 or tvb(at + 2, 2):le_uint() ~= left - 4
        or left < 13 then
        refuse(tree, pinfo, "the packet of a parity without it")
    else
        pinfo.cols.info = add_frame(tree, tvb, at, left)
    end
end

function heliograph.dissector(tvb, pinfo, root)
    pinfo.cols.protocol = "Heliograph"
    local tree = root:add(heliograph, tvb())
    if tvb:len() < HEADER_BYTES then
        refuse(tree, pinfo, "a packet of " .. tvb:len() .. " bytes, less than its header")
        return tvb:len()
    end
    add(tree, header, tvb, 0)
    local at, finish, names = HEADER_BYTES, tvb:len(), {}
    local problem = header_problem(tvb)
    local grouped = problem == nil and tvb(1, 1):uint() == FLAG_FEC
    if grouped then
        at = add(tree, place, tvb, at)
        problem = place_problem(tvb)
    end
    if problem ~= nil then
        refuse(tree, pinfo, problem)
        return tvb:len()
    end
    if grouped and tvb(HEADER_BYTES + 4, 1):uint() >= FEC_SOURCES_MAX then
        add_parity(tree, pinfo, tvb, at, finish)
        return tvb:len()
    end
    while at < finish do
        local run = padding_run(tvb, at, finish)
        if run > 0 then
            tree:add(padding, tvb(at, run))
            at = at + run
        else
            local bytes, why = shape(tvb, at, finish - at)
            if bytes == nil then
                refuse(tree, pinfo, why)
                return tvb:len()
            end
            table.insert(names, add_frame(tree, tvb, at, bytes))
            at = at + bytes
        end
    end
    pinfo.cols.info = table.concat(names, ", ")
    return tvb:len()
end

-- ---- handshake ----

local handshake = Proto("heliograph_handshake", "Heliograph handshake")
local message = layout(handshake_fields, "heliograph_handshake", {
    { "magic", 4, "bytes" }, { "version", 1 }, { "type", 1, "dec", handshake_types }, { "bytes", 2 },
    { "cluster", 8 }, { "node_sender", 8 }, { "node_receiver", 8 }, { "boot", 8, "hex" }, { "spi", 4, "hex" },
    { "generation", 4 }, { "workers", 1 }, { "zero", 3, "bytes" },
    { "lane_generation", 4 }, { "nonce_sender", 32, "bytes" },
    { "nonce_receiver", 32, "bytes" }, { "mac", 32, "bytes" } })
handshake.fields = handshake_fields
local handshake_malformed = ProtoExpert.new("heliograph_handshake.malformed", "malformed: a receiver drops it",
    expert.group.MALFORMED, expert.severity.ERROR)
handshake.experts = { handshake_malformed }

function handshake.dissector(tvb, pinfo, root)
    pinfo.cols.protocol = "Heliograph"
    local tree = root:add(handshake, tvb())
    local name = tvb:len() >= 6 and handshake_types[tvb(5, 1):uint()] or nil
    if tvb:len() ~= 152 or tvb(0, 4):string() ~= "HGHS" or tvb(4, 1):uint() ~= HANDSHAKE_VERSION or name == nil
        or tvb(6, 2):le_uint() ~= 152 or tvb(48, 1):uint() < 1 or tvb(48, 1):uint() > WORKERS_MAX then
        tree:add_proto_expert_info(handshake_malformed)
        pinfo.cols.info = "malformed handshake"
        return tvb:len()
    end
    add(tree, message, tvb, 0)
    pinfo.cols.info = name
    return tvb:len()
end

DissectorTable.get("ip.proto"):add(253, heliograph)
-- ESP in UDP has no name that a script could ask for; it is what Wireshark has on its own port.
local udp_port = DissectorTable.get("udp.port")
udp_port:add(47000, handshake)
udp_port:add("47001-47064", udp_port:get_dissector(4500))
