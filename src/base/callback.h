#pragma once

#include <concepts>
#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

namespace apogee {

/// A function that is kept until it is called: std::function that can only be moved, so that what
/// it holds need not be copyable. What is no larger than kRoom lies in place, a shared_ptr or a
/// whole std::function among it: keeping one costs no memory of its own.
template <class Signature>
class Callback;

template <class... Args>
class Callback<void(Args...)> {
 public:
  Callback() = default;
  Callback(std::nullptr_t) {}  // NOLINT: implicit on purpose
  template <class Function>
    requires(!std::same_as<std::remove_cvref_t<Function>, Callback> &&
             std::invocable<std::remove_cvref_t<Function>&, Args...>)
  Callback(Function&& function) {  // NOLINT: implicit on purpose
    using Kept = std::remove_cvref_t<Function>;
    if constexpr (sizeof(Kept) <= kRoom && alignof(Kept) <= alignof(std::max_align_t) &&
                  std::is_nothrow_move_constructible_v<Kept>) {
      ::new (room_) Kept(std::forward<Function>(function));
      ways_ = &kWays<Kept>;
    } else {
      *this = [large = std::make_unique<Kept>(std::forward<Function>(function))](Args... args) {
        (*large)(std::forward<Args>(args)...);
      };
    }
  }
  Callback(Callback&& other) noexcept { take(other); }
  Callback& operator=(Callback&& other) noexcept {
    if (this == &other) return *this;
    drop();
    take(other);
    return *this;
  }
  ~Callback() { drop(); }

  explicit operator bool() const { return ways_ != nullptr; }
  void operator()(Args... args) { ways_->call(room_, std::forward<Args>(args)...); }

 private:
  static constexpr std::size_t kRoom = 48;
  struct Ways {
    void (*call)(void* kept, Args&&... args);
    void (*move)(void* from, void* to) noexcept;  ///< `from` is destroyed.
    void (*destroy)(void* kept) noexcept;
  };
  template <class Kept>
  static constexpr Ways kWays{
      [](void* kept, Args&&... args) { (*static_cast<Kept*>(kept))(std::forward<Args>(args)...); },
      [](void* from, void* to) noexcept {
        ::new (to) Kept(std::move(*static_cast<Kept*>(from)));
        static_cast<Kept*>(from)->~Kept();
      },
      [](void* kept) noexcept { static_cast<Kept*>(kept)->~Kept(); }};

  void take(Callback& other) {
    ways_ = std::exchange(other.ways_, nullptr);
    if (ways_ != nullptr) ways_->move(other.room_, room_);
  }
  void drop() {
    if (const Ways* ways = std::exchange(ways_, nullptr)) ways->destroy(room_);
  }

  alignas(std::max_align_t) std::byte room_[kRoom];
  const Ways* ways_ = nullptr;
};

}  // namespace apogee
