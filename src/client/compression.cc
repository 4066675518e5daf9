#include "client/compression.h"

#include <algorithm>
#include <memory>

#include <lz4frame.h>
#include <zlib.h>
#include <zstd.h>

#include "protocol/message.h"

namespace apogee::client {
namespace {

// MessageSysFlag.COMPRESSION_*_TYPE.
constexpr std::int32_t kTypeMask = 0x700, kLz4Type = 0x100, kZstdType = 0x200, kZlibType = 0x300;

Error failed(const char* method, const char* why) {
  return {Errc::kMalformed, std::string{method} + ": " + why};
}
Error too_large(const char* method) {
  return failed(method, "the body grows beyond 256 MiB");
}

Result<Buffer> deflate(Bytes body, int level) {
  Buffer out(::compressBound(body.size()), '\0');
  uLongf size = out.size();
  const int code = ::compress2(reinterpret_cast<Bytef*>(out.data()), &size,
                               reinterpret_cast<const Bytef*>(body.data()), body.size(),
                               std::clamp(level, 0, 9));
  if (code != Z_OK) return failed("zlib", ::zError(code));
  out.resize(size);
  return out;
}

// Independent blocks: the Java library cannot read others.
Result<Buffer> compress_lz4(Bytes body) {
  LZ4F_preferences_t preferences{};
  preferences.frameInfo.blockMode = LZ4F_blockIndependent;
  preferences.frameInfo.blockSizeID = LZ4F_max4MB;
  Buffer out(::LZ4F_compressFrameBound(body.size(), &preferences), '\0');
  const std::size_t size =
      ::LZ4F_compressFrame(out.data(), out.size(), body.data(), body.size(), &preferences);
  if (::LZ4F_isError(size) != 0) return failed("lz4", ::LZ4F_getErrorName(size));
  out.resize(size);
  return out;
}

Result<Buffer> compress_zstd(Bytes body, int level) {
  Buffer out(::ZSTD_compressBound(body.size()), '\0');
  const std::size_t size = ::ZSTD_compress(out.data(), out.size(), body.data(), body.size(),
                                           std::clamp(level, 1, ::ZSTD_maxCLevel()));
  if (::ZSTD_isError(size) != 0) return failed("zstd", ::ZSTD_getErrorName(size));
  out.resize(size);
  return out;
}

/// Makes room behind what is there, doubling; false at the limit.
bool grow(Buffer& out) {
  if (out.size() >= kDecompressedBytesMax) return false;
  out.resize(std::min(kDecompressedBytesMax, std::max<std::size_t>(4'096, out.size() * 2)));
  return true;
}

Result<Buffer> inflate(Bytes body) {
  z_stream stream{};
  if (::inflateInit(&stream) != Z_OK) return Error{Errc::kIo, "zlib: no memory"};
  const std::unique_ptr<z_stream, int (*)(z_stream*)> guard{&stream, ::inflateEnd};
  // zlib reads through a pointer that its old interface does not call const.
  stream.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(body.data()));
  stream.avail_in = static_cast<uInt>(body.size());
  Buffer out;
  for (;;) {
    const std::size_t done = stream.total_out;
    if (done == out.size() && !grow(out)) return too_large("zlib");
    stream.next_out = reinterpret_cast<Bytef*>(out.data() + done);
    stream.avail_out = static_cast<uInt>(out.size() - done);
    const int code = ::inflate(&stream, Z_NO_FLUSH);
    if (code == Z_STREAM_END) break;
    if (code == Z_BUF_ERROR || (code == Z_OK && stream.avail_in == 0 && stream.avail_out != 0))
      return failed("zlib", "the data ends too early");
    if (code != Z_OK) return failed("zlib", ::zError(code));
  }
  out.resize(stream.total_out);
  return out;
}

Result<Buffer> decompress_lz4(Bytes body) {
  LZ4F_dctx* context = nullptr;
  if (::LZ4F_isError(::LZ4F_createDecompressionContext(&context, LZ4F_VERSION)) != 0)
    return Error{Errc::kIo, "lz4: no memory"};
  const std::unique_ptr<LZ4F_dctx, std::size_t (*)(LZ4F_dctx*)> guard{
      context, ::LZ4F_freeDecompressionContext};
  Buffer out;
  std::size_t done = 0, at = 0;
  for (;;) {
    if (done == out.size() && !grow(out)) return too_large("lz4");
    std::size_t room = out.size() - done, taken = body.size() - at;
    const std::size_t wanted =
        ::LZ4F_decompress(context, out.data() + done, &room, body.data() + at, &taken, nullptr);
    if (::LZ4F_isError(wanted) != 0) return failed("lz4", ::LZ4F_getErrorName(wanted));
    done += room;
    at += taken;
    if (wanted == 0) break;
    if (at == body.size() && room == 0) return failed("lz4", "the data ends too early");
  }
  out.resize(done);
  return out;
}

Result<Buffer> decompress_zstd(Bytes body) {
  const std::unique_ptr<ZSTD_DCtx, std::size_t (*)(ZSTD_DCtx*)> context{::ZSTD_createDCtx(),
                                                                        ::ZSTD_freeDCtx};
  if (!context) return Error{Errc::kIo, "zstd: no memory"};
  ZSTD_inBuffer in{body.data(), body.size(), 0};
  Buffer out;
  std::size_t done = 0;
  for (;;) {
    if (done == out.size() && !grow(out)) return too_large("zstd");
    ZSTD_outBuffer room{out.data(), out.size(), done};
    const std::size_t wanted = ::ZSTD_decompressStream(context.get(), &room, &in);
    if (::ZSTD_isError(wanted) != 0) return failed("zstd", ::ZSTD_getErrorName(wanted));
    const bool stuck = room.pos == done && in.pos == in.size;
    done = room.pos;
    if (wanted == 0) break;
    if (stuck) return failed("zstd", "the data ends too early");
  }
  out.resize(done);
  return out;
}

}  // namespace

Result<Buffer> compressed(Bytes body, Compression method, int level) {
  switch (method) {
    case Compression::kZlib:
      return deflate(body, level);
    case Compression::kLz4:
      return compress_lz4(body);
    case Compression::kZstd:
      return compress_zstd(body, level);
  }
  return Error{Errc::kInvalidArgument, "an unknown compression"};
}

std::int32_t sys_flag_of(Compression method) {
  constexpr std::int32_t kTypes[] = {kZlibType, kLz4Type, kZstdType};
  return protocol::sys_flag::kCompressed | kTypes[static_cast<std::size_t>(method)];
}

Result<Buffer> decompressed(Bytes body, std::int32_t sys_flag) {
  if ((sys_flag & protocol::sys_flag::kCompressed) == 0) return Buffer{as_text(body)};
  switch (sys_flag & kTypeMask) {
    case 0:
    case kZlibType:
      return inflate(body);
    case kLz4Type:
      return decompress_lz4(body);
    case kZstdType:
      return decompress_zstd(body);
    default:
      return Error{Errc::kUnsupported,
                   "compression type " + std::to_string((sys_flag & kTypeMask) >> 8)};
  }
}

}  // namespace apogee::client
